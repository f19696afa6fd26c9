// verify_accept: see verify_slot.h for what a team computes. Geometry: one team per image, under `couple` one per slot; a team
// is one block, or a cluster of up to 8 where the row of a race is long. Bytes: 2 numbers per slot, and the rows of p and q of
// the slots that are drawn anew. The race takes a minimum over (time, id), which no order changes.
#include "device_team.cuh"
#include "launch.cuh"
#include "operators.h"
#include "verify_slot.h"

namespace sjd2 {
namespace {

__global__ void __launch_bounds__(kThreadsOfVerifyAccept)
    verify_accept_kernel(const __grid_constant__ VerifyAcceptArguments a, const __grid_constant__ Plan plan) {
  __shared__ Mailboxes mail;
  DeviceTeam<true> team(plan.ranks, &mail, nullptr, nullptr);
  const int64_t index = blockIdx.x / unsigned(plan.ranks);
  const Row row{int(a.V), plan.part};
  const int64_t slots = teams_of_image(a), b = index / slots;
  verify(team, row, Image{a, b}, int(index - b * slots));
  team.leave();
}

}  // namespace

namespace cuda {

void verify_accept(const VerifyAcceptArguments& a, int device, std::uintptr_t stream) {
  const OnDevice current(device);
  const Plan plan = plan_verify_accept(a.V, limits_of(device));
  launch(verify_accept_kernel, a, plan, a.B * teams_of_image(a), 0, reinterpret_cast<cudaStream_t>(stream));
}

}  // namespace cuda
}  // namespace sjd2

// process_logits: see process_row.h for what a team computes. Geometry: one block for a row whose cells fit its shared memory,
// a cluster of 2 to 8 above 48 * 1024 ids, or one block that parks its cells in p where there are no clusters. 128 to 1024
// threads, 2 quads or more each. Bytes: the logits are read once, p is written once (parked: p goes through the cache again
// several times). Rows never influence each other; integer additions and exact comparisons only, so no order shows.
#include "device_team.cuh"
#include "launch.cuh"
#include "operators.h"
#include "process_row.h"

namespace sjd2 {
namespace {

struct Fixed {
  Mailboxes mail;
  Bins bins;
};

constexpr float kHeadStart = 32.0f;  // a second race in exp(-32) of all rows

template <class T, bool kParked>
__global__ void __launch_bounds__(kThreadsOfProcessLogits)
    process_logits_kernel(const __grid_constant__ ProcessLogitsArguments a, const __grid_constant__ Plan plan) {
  extern __shared__ Quad cells_of_block[];
  __shared__ Fixed fixed;
  DeviceTeam<!kParked> team(plan.ranks, &fixed.mail, &fixed.bins, cells_of_block);
  const int index = int(blockIdx.x / unsigned(plan.ranks));
  const Row row{int(a.V), plan.part};
  Drawn drawn;
  if constexpr (kParked) {
    drawn = process_row<T>(team, ParkedCells{row, a.p + index * a.V}, a, index, kHeadStart);
  } else {
    drawn = process_row<T>(team, SharedCells{row}, a, index, kHeadStart);
  }
  team.once([&] {
    a.fresh[index] = drawn.fresh;
    a.status[index] = drawn.status;
  });
  team.leave();
}

template <class T>
void launch_rows(const ProcessLogitsArguments& a, int device, cudaStream_t stream) {
  const Plan plan = plan_process_logits(a.V, limits_of(device), sizeof(Fixed));
  if (plan.parked) launch(process_logits_kernel<T, true>, a, plan, a.B * a.L, 0, stream);
  else launch(process_logits_kernel<T, false>, a, plan, a.B * a.L, size_t(plan.part) * sizeof(uint32_t), stream);
}

}  // namespace

namespace cuda {

void process_logits(const ProcessLogitsArguments& a, int device, std::uintptr_t stream) {
  const OnDevice current(device);
  const auto on = reinterpret_cast<cudaStream_t>(stream);
  switch (a.dtype) {
    case Dtype::kFloat32: return launch_rows<float>(a, device, on);
    case Dtype::kBfloat16: return launch_rows<Bfloat16>(a, device, on);
    case Dtype::kFloat16: return launch_rows<Float16>(a, device, on);
    case Dtype::kFloat64: throw std::invalid_argument("process_logits: float64 logits must be rounded to float32 first");
  }
}

std::string problem() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return count == 0 ? "no CUDA device" : "";
}

}  // namespace cuda
}  // namespace sjd2

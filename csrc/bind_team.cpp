// The CUDA kernels' algorithms on a team that one thread plays (cuda/serial_team.h), and their launch plans: for tests.
#include "bind.h"
#include "bind_process_logits.h"
#include "bind_verify_accept.h"
#include "cuda/plan.h"
#include "cuda/process_row.h"
#include "cuda/serial_team.h"
#include "cuda/verify_slot.h"

namespace sjd2 {
namespace {

template <class T>
Drawn play_row(const ProcessLogitsArguments& a, int index, SerialTeam& team, bool parked, float head_start) {
  const Row row{int(a.V), part_of(a.V, team.ranks())};
  if (parked) return process_row<T>(team, ParkedCells{row, a.p + index * a.V}, a, index, head_start);
  return process_row<T>(team, SharedCells{row}, a, index, head_start);
}

void play_process_logits(const ProcessLogitsArguments& a, int ranks, int threads, int order, bool parked, float head_start) {
  for (int index = 0; index < a.B * a.L; ++index) {
    SerialTeam team(ranks, threads, Order(order), size_t(part_of(a.V, ranks)) / 4);
    Drawn drawn;
    switch (a.dtype) {
      case Dtype::kFloat32: drawn = play_row<float>(a, index, team, parked, head_start); break;
      case Dtype::kBfloat16: drawn = play_row<Bfloat16>(a, index, team, parked, head_start); break;
      case Dtype::kFloat16: drawn = play_row<Float16>(a, index, team, parked, head_start); break;
      default: throw std::invalid_argument("process_logits: no such kernel");
    }
    a.fresh[index] = drawn.fresh;
    a.status[index] = drawn.status;
  }
}

void play_verify_accept(const VerifyAcceptArguments& a, int ranks, int threads, int order) {
  const Row row{int(a.V), part_of(a.V, ranks)};
  const int64_t slots = teams_of_image(a);
  for (int64_t index = 0; index < a.B * slots; ++index) {
    SerialTeam team(ranks, threads, Order(order), 0);
    verify(team, row, Image{a, index / slots}, int(index % slots));
  }
}

py::tuple as_tuple(const Plan& plan) { return py::make_tuple(plan.ranks, plan.threads, plan.part, plan.parked); }

}  // namespace

void bind_team(py::module_& module) {
  define_process_logits<int, int, int, bool, float>(module, "team_process_logits", dlpack::kCpu, play_process_logits);
  define_verify_accept<int, int, int>(module, "team_verify_accept", dlpack::kCpu, play_verify_accept);
  module.def("plan_process_logits", [](int64_t V, size_t shared, bool clusters, size_t fixed) {
    return as_tuple(plan_process_logits(V, {shared, clusters}, fixed));
  });
  module.def("plan_verify_accept", [](int64_t V, size_t shared, bool clusters) {
    return as_tuple(plan_verify_accept(V, {shared, clusters}));
  });
}

}  // namespace sjd2

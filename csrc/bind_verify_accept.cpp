#include "bind_verify_accept.h"

#include "cpu/verify_accept.h"

namespace sjd2 {

void bind_verify_accept(pybind11::module_& module) {
  define_verify_accept<int>(module, "verify_accept", [](const VerifyAcceptArguments& arguments, int threads) {
    verify_accept_dispatch({arguments, threads});
  });
}

}  // namespace sjd2

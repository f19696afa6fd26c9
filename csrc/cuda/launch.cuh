// Launches of kernels that work in teams: limits of the device, dynamic shared memory, clusters, and errors as exceptions.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "plan.h"

namespace sjd2 {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Makes `device` the current one for a scope.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    check(cudaSetDevice(device), "cudaSetDevice");
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

inline Limits limits_of(int device) {
  int shared = 0, major = 0;
  check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "cudaDeviceGetAttribute");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  return {size_t(shared), major >= 9};
}

// kernel(arguments, plan) by `teams` teams, each with `shared` bytes of dynamic memory to a block; nothing for no teams.
template <class Arguments>
void launch(void (*kernel)(Arguments, Plan), const Arguments& arguments, const Plan& plan, int64_t teams, size_t shared,
            cudaStream_t stream) {
  if (teams == 0) return;
  constexpr size_t kWithoutOptIn = 48 * 1024;
  if (shared > kWithoutOptIn)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)), "cudaFuncSetAttribute");
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = unsigned(plan.ranks);
  cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(teams * plan.ranks));
  config.blockDim = dim3(unsigned(plan.threads));
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = plan.ranks > 1 ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, arguments, plan), "launch");
}

}  // namespace sjd2

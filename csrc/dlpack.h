// The C interface of torch.Tensor, torch.Tensor.__dlpack_c_exchange_api__: the structures of DLPack 1, laid out as its
// specification fixes them (https://dmlc.github.io/dlpack/latest/c_api.html), so that no framework is needed to build.
#pragma once

#include <cstdint>

namespace sjd2::dlpack {

enum DeviceType : int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3 };
enum TypeCode : uint8_t { kInt = 0, kFloat = 2, kBfloat = 4, kBool = 6 };

struct Version {
  uint32_t major, minor;
};

struct Device {
  DeviceType type;
  int32_t ordinal;
};

struct Type {
  TypeCode code;
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t axes;
  Type type;
  int64_t* sizes;
  int64_t* strides;  // in elements
  uint64_t byte_offset;
};

struct ManagedTensor {
  Version version;
  void* context;
  void (*deleter)(ManagedTensor*);
  uint64_t flags;
  Tensor tensor;
};

// All return 0, or -1 with a Python error set.
struct Exchange {
  Version version;
  void* older;
  int (*allocate)(Tensor* like, ManagedTensor** out, void* context, void (*fail)(void*, const char*, const char*));
  int (*managed_of_object)(void* object, ManagedTensor** out);
  int (*object_of_managed)(ManagedTensor* tensor, void** object);
  int (*tensor_of_object)(void* object, Tensor* out);  // borrows: valid while the object lives
  int (*current_stream)(int32_t device_type, int32_t ordinal, void** out);
};

}  // namespace sjd2::dlpack

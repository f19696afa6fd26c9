// The arguments of an operator's call, one after the other as its schema lists them.
//
// Kernels take addresses, so every tensor is looked at here: device, type, shape, strides. What a kernel cannot take as it
// lies makes the call "not plain": nothing runs, and Python says what is wrong or makes the copies that are missing.
#pragma once

#include <pybind11/pybind11.h>

#include <initializer_list>
#include <stdexcept>
#include <type_traits>

#include "dlpack.h"
#include "sjd2/real.h"

namespace sjd2 {

namespace py = pybind11;

// torch.Tensor's own functions; set when the module is loaded.
inline const dlpack::Exchange* exchange = nullptr;

inline void bind_exchange(py::module_& module) {
  module.def("exchange_with", [](const py::capsule& tensors) {
    exchange = static_cast<const dlpack::Exchange*>(PyCapsule_GetPointer(tensors.ptr(), "dlpack_exchange_api"));
    if (exchange == nullptr) throw py::error_already_set();
    if (exchange->version.major != 1 || exchange->tensor_of_object == nullptr)
      throw std::runtime_error("this torch speaks another version of DLPack");
  });
}

template <class T>
constexpr dlpack::TypeCode kCode =
    std::is_same_v<T, bool> ? dlpack::kBool : std::is_integral_v<T> ? dlpack::kInt : dlpack::kFloat;

// A tensor that belongs to somebody else, or none.
struct View {
  bool given = false;
  dlpack::Tensor tensor{};

  int64_t size(int axis) const { return tensor.sizes[axis]; }
  int64_t stride(int axis) const { return tensor.strides[axis]; }

  template <class T>
  T* data() const {
    return given ? reinterpret_cast<T*>(static_cast<char*>(tensor.data) + tensor.byte_offset) : nullptr;
  }

  bool has_type(dlpack::TypeCode code, size_t bytes) const {
    return tensor.type.code == code && tensor.type.bits == 8 * bytes && tensor.type.lanes == 1;
  }

  bool has_shape(std::initializer_list<int64_t> sizes) const {
    if (tensor.axes != int(sizes.size())) return false;
    int axis = 0;
    for (const int64_t want : sizes)
      if (size(axis++) != want) return false;
    return true;
  }

  bool empty() const {
    for (int axis = 0; axis < tensor.axes; ++axis)
      if (size(axis) == 0) return true;
    return false;
  }

  // Elements side by side in the order of their indices.
  bool contiguous() const {
    int64_t expected = 1;
    for (int axis = tensor.axes; axis-- > 0; expected *= size(axis))
      if (size(axis) != 1 && stride(axis) != expected) return empty();
    return true;
  }
};

class Arguments {
 public:
  Arguments(const py::tuple& values, dlpack::DeviceType device) : values_(values), device_(device) {
    if (exchange == nullptr) throw std::runtime_error("exchange_with() has not been called");
  }

  bool plain() const { return plain_; }
  explicit operator bool() const { return plain_; }

  // States a condition of being plain.
  bool require(bool holds) { return plain_ &= holds; }

  py::handle value() {
    const size_t index = next_++;
    return index < values_.size() ? PyTuple_GET_ITEM(values_.ptr(), py::ssize_t(index)) : Py_None;  // left out: a default
  }

  double number() {
    const double x = PyFloat_AsDouble(value().ptr());
    if (x == -1.0 && PyErr_Occurred()) {
      PyErr_Clear();
      plain_ = false;
    }
    return x;
  }

  // The next argument, a tensor on the device or None. After the first that is not plain all read as None.
  View view() {
    View found;
    const py::handle object = value();
    if (!plain_ || object.is_none()) return found;
    if (exchange->tensor_of_object(object.ptr(), &found.tensor) != 0) {
      PyErr_Clear();
      plain_ = false;
      return found;
    }
    const dlpack::DeviceType type = found.tensor.device.type;
    found.given = require(type == device_ || (device_ == dlpack::kCpu && type == dlpack::kCudaHost));
    return found;
  }

  // `x` if it has so many axes, of which the last is dense.
  View rows(const View& x, int axes) {
    if (!require(x.given && x.tensor.axes == axes)) return {};
    return require(x.stride(axes - 1) == 1 || x.size(axes - 1) == 1 || x.empty()) ? x : View{};
  }

  View rows(const View& x, Dtype dtype, std::initializer_list<int64_t> sizes) {
    return require(rows(x, int(sizes.size())).given && x.has_shape(sizes) && dtype_of(x) == dtype) ? x : View{};
  }

  Dtype dtype_of(const View& x) {
    if (x.has_type(dlpack::kFloat, 4)) return Dtype::kFloat32;
    if (x.has_type(dlpack::kBfloat, 2)) return Dtype::kBfloat16;
    if (x.has_type(dlpack::kFloat, 2)) return Dtype::kFloat16;
    require(x.has_type(dlpack::kFloat, 8));
    return Dtype::kFloat64;
  }

  // Elements of `x`, which has this shape and lies side by side; null for None.
  template <class T>
  T* optional(const View& x, std::initializer_list<int64_t> sizes) {
    if (!plain_ || !x.given) return nullptr;
    return require(x.has_type(kCode<T>, sizeof(T)) && x.has_shape(sizes) && x.contiguous()) ? x.data<T>() : nullptr;
  }

  template <class T>
  T* optional(std::initializer_list<int64_t> sizes) {
    return optional<T>(view(), sizes);
  }

  template <class T>
  T* dense(const View& x, std::initializer_list<int64_t> sizes) {
    require(x.given);
    return optional<T>(x, sizes);
  }

  template <class T>
  T* dense(std::initializer_list<int64_t> sizes) {
    return dense<T>(view(), sizes);
  }

  // The same for an element type that is known at run time only.
  void* optional(const View& x, Dtype dtype, std::initializer_list<int64_t> sizes) {
    if (!plain_ || !x.given) return nullptr;
    return require(dtype_of(x) == dtype && x.has_shape(sizes) && x.contiguous()) ? x.data<void>() : nullptr;
  }

 private:
  const py::tuple& values_;
  dlpack::DeviceType device_;
  size_t next_ = 0;
  bool plain_ = true;
};

}  // namespace sjd2

// The tensors that a call makes on the CPU: outputs, which go to Python, and scratch, which goes with the call.
//
// They hold whatever was there before. Tests watch every new one and fill it with values that no right result holds, so that
// an element that a kernel forgets shows.
#pragma once

#include <cstdlib>
#include <new>

#include "arguments.h"
#include "cpu/recycled.h"

namespace sjd2 {

inline PyObject* watcher = nullptr;  // called with every new tensor; leaked on purpose

template <class T>
constexpr dlpack::Type kType = {kCode<T>, 8 * sizeof(T), 1};

inline dlpack::Type type_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::kBfloat16: return {dlpack::kBfloat, 16, 1};
    case Dtype::kFloat16: return {dlpack::kFloat, 16, 1};
    case Dtype::kFloat64: return kType<double>;
    default: return kType<float>;
  }
}

// The type in which kernels compute with elements of another.
inline Dtype compute_of(Dtype dtype) { return dtype == Dtype::kFloat64 ? Dtype::kFloat64 : Dtype::kFloat32; }

// Row-major, on a boundary of 64 bytes at least.
class NewTensor {
 public:
  NewTensor(dlpack::Type type, std::initializer_list<int64_t> sizes) : NewTensor(type, sizes.begin(), int(sizes.size())) {}
  NewTensor(dlpack::Type type, const int64_t* sizes, int axes) {
    auto* memory = new Memory(type, sizes, axes);  // torch's from here on, also where it fails
    data_ = memory->tensor.data;
    void* object = nullptr;
    if (exchange->object_of_managed(memory, &object) != 0) throw py::error_already_set();
    object_ = py::reinterpret_steal<py::object>(static_cast<PyObject*>(object));
    if (watcher != nullptr) py::reinterpret_borrow<py::object>(watcher)(object_);
  }

  template <class T>
  operator T*() const {
    return static_cast<T*>(data_);
  }
  const py::object& object() const { return object_; }

 private:
  static constexpr int kMostAxes = 4;
  static constexpr size_t kLine = 64;

  struct Memory : dlpack::ManagedTensor {
    int64_t sizes[kMostAxes], strides[kMostAxes];

    Memory(dlpack::Type type, const int64_t* want, int axes) : dlpack::ManagedTensor{{1, 0}, nullptr, &give_back, 0, {}} {
      int64_t bytes = type.bits / 8, count = 1;
      for (int axis = axes; axis-- > 0;) {
        sizes[axis] = want[axis];
        strides[axis] = count;
        if (__builtin_mul_overflow(bytes, want[axis], &bytes)) throw std::bad_alloc();
        count *= want[axis];
      }
      tensor = {nullptr, {dlpack::kCpu, 0}, axes, type, sizes, strides, 0};
      if (size_t(bytes) >= kRecycleFrom) {
        auto* recycled = new Recycled(size_t(bytes));
        context = recycled;
        tensor.data = recycled->data();
      } else {
        tensor.data = std::aligned_alloc(kLine, (size_t(bytes) / kLine + 1) * kLine);
        if (tensor.data == nullptr) throw std::bad_alloc();
      }
    }

    ~Memory() {
      if (context != nullptr) delete static_cast<Recycled*>(context);
      else std::free(tensor.data);
    }

    static void give_back(dlpack::ManagedTensor* self) { delete static_cast<Memory*>(self); }
  };

  py::object object_;
  void* data_;
};

template <class T>
NewTensor make(std::initializer_list<int64_t> sizes) {
  return NewTensor(kType<T>, sizes);
}

}  // namespace sjd2

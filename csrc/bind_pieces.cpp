// The headers' pieces on NumPy arrays, so that tests can compare each of them with the Python restatement.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "bind.h"
#include "cpu/parallel.h"
#include "sjd2/exponential.h"
#include "sjd2/mass.h"
#include "sjd2/ordered_key.h"
#include "sjd2/philox.h"

namespace py = pybind11;

namespace sjd2 {
namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

// Words [n, 4] of counters [n, 4] under keys [n, 2].
py::array_t<uint32_t> philox_many(Array<uint32_t> counter, Array<uint32_t> key) {
  if (counter.ndim() != 2 || key.ndim() != 2 || counter.shape(1) != 4 || key.shape(1) != 2 || counter.shape(0) != key.shape(0))
    throw py::value_error("philox: counter must have shape [n, 4] and key [n, 2]");
  py::array_t<uint32_t> out({counter.shape(0), py::ssize_t(4)});
  auto c = counter.unchecked<2>();
  auto k = key.unchecked<2>();
  auto o = out.mutable_unchecked<2>();
  for (py::ssize_t i = 0; i < c.shape(0); ++i) {
    const Words words = philox(c(i, 0), c(i, 1), c(i, 2), c(i, 3), k(i, 0), k(i, 1));
    for (int j = 0; j < 4; ++j) o(i, j) = words.w[j];
  }
  return out;
}

// How often each of `count` chunks was run; chunk `fail` throws.
py::array_t<int64_t> visits(int64_t count, int threads, int64_t fail) {
  py::array_t<int64_t> out(count);
  int64_t* seen = out.mutable_data();
  std::fill_n(seen, count, 0);
  py::gil_scoped_release released;
  parallel_for(count, threads, [&](int64_t i) {
    ++seen[i];
    if (i == fail) throw std::runtime_error("chunk " + std::to_string(i));
  });
  return out;
}

}  // namespace

void bind_pieces(py::module_& module) {
  module.def("philox", &philox_many, py::arg("counter"), py::arg("key"));
  module.def(
      "word",
      [](int64_t seed, int64_t position, uint32_t stream, int64_t epoch, uint64_t index) {
        return Generator::at(seed, position, Stream(stream), epoch).word(index);
      },
      py::arg("seed"), py::arg("position"), py::arg("stream"), py::arg("epoch"), py::arg("index"));
  module.def("visits", &visits, py::arg("count"), py::arg("threads"), py::arg("fail") = -1);
  module.def("uniform", py::vectorize([](uint32_t word) { return uniform(word); }), py::arg("word"));
  module.def("exponential", py::vectorize([](float u) { return exponential(u); }), py::arg("u"));
  module.def("exp2", py::vectorize([](float x) { return exp2_poly(x); }), py::arg("x"));
  module.def("ordered_key", py::vectorize([](float x) { return ordered_key(x); }), py::arg("x"));
  module.def("key_value", py::vectorize([](uint32_t key) { return key_value(key); }), py::arg("key"));
  module.def("mass", py::vectorize([](float score, float top) { return int64_t(mass(score, top)); }), py::arg("score"),
             py::arg("top"));
}

}  // namespace sjd2

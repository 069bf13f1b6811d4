// The kernels as nvcc compiled them: code of several GPUs and portable code in one image, which
// CMakeLists.txt puts into the binary.
#pragma once

namespace k2::cuda {

struct KernelImage {
  const void* data;
  int driver_version;  // the oldest that takes it, as the driver counts (13000: CUDA 13.0)
};
extern const KernelImage kKernelImage;

}  // namespace k2::cuda

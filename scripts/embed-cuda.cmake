# Writes the compiled CUDA kernels as C++ (native/cuda/kernel_image.h), with the oldest driver that takes them: nvcc's own
# major version. Run by CMakeLists.txt: cmake -DNVCC= -DIMAGE= -DOUTPUT= -P embed-cuda.cmake
execute_process(COMMAND ${NVCC} --version OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCH "release ([0-9]+)" found "${version}")
set(major ${CMAKE_MATCH_1})
file(READ ${IMAGE} bytes HEX)
string(REGEX REPLACE "(................)" "0x\\1," words "${bytes}")
# The image is a whole number of words of 8 bytes; hexadecimal digits stand in the order of the bytes.
string(REGEX REPLACE "0x(..)(..)(..)(..)(..)(..)(..)(..)," "0x\\8\\7\\6\\5\\4\\3\\2\\1,\n" words "${words}")
file(WRITE ${OUTPUT} "#include <cstdint>

#include \"cuda/kernel_image.h\"

namespace k2::cuda {
namespace {

alignas(64) const uint64_t kBytes[] = {
${words}};

}  // namespace

const KernelImage kKernelImage = {kBytes, 1000 * ${major}};

}  // namespace k2::cuda
")

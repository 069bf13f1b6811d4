// The part of CUDA's driver that we call, by its C interface. It is looked up at run time, so that one binary
// loads with and without a driver, and no header or library of CUDA is needed to build the host's side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace k2::cuda {

// Of memory, as kernels see it; 0 is none.
using Address = uint64_t;
using DriverResult = int;  // 0: success
using Context = struct ContextTag*;
using Stream = struct StreamTag*;
using Module = struct ModuleTag*;
using Function = struct FunctionTag*;

constexpr DriverResult kOutOfDeviceMemory = 2;
constexpr DriverResult kNoDevice = 100;
// Of deviceGetAttribute.
constexpr int kComputeMajor = 75, kComputeMinor = 76;

struct Driver {
  DriverResult (*init)(unsigned flags);
  DriverResult (*get_version)(int* version);  // 1000 * major + 10 * minor
  DriverResult (*get_error_string)(DriverResult result, const char** text);
  DriverResult (*get_device_count)(int* count);
  DriverResult (*get_device)(int* device, int ordinal);
  DriverResult (*get_device_name)(char* name, int length, int device);
  DriverResult (*get_device_attribute)(int* value, int attribute, int device);
  DriverResult (*retain_context)(Context* context, int device);
  DriverResult (*release_context)(int device);
  DriverResult (*push_context)(Context context);
  DriverResult (*pop_context)(Context* context);
  DriverResult (*get_memory)(size_t* free, size_t* total);
  DriverResult (*allocate)(Address* address, size_t bytes);
  DriverResult (*free)(Address address);
  DriverResult (*allocate_host)(void** data, size_t bytes, unsigned flags);
  DriverResult (*free_host)(void* data);
  DriverResult (*copy_to_device)(Address to, const void* from, size_t bytes, Stream stream);
  DriverResult (*copy_to_host)(void* to, Address from, size_t bytes, Stream stream);
  DriverResult (*create_stream)(Stream* stream, unsigned flags);
  DriverResult (*destroy_stream)(Stream stream);
  DriverResult (*synchronize)(Stream stream);
  DriverResult (*load_module)(Module* module, const void* image);
  DriverResult (*unload_module)(Module module);
  DriverResult (*get_function)(Function* function, Module module, const char* name);
  DriverResult (*launch)(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                         unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                         Stream stream, void** parameters, void** extra);
};

// The driver of this system; kUnavailable where there is none, or one that lacks a function.
Result<const Driver*> SystemDriver();

// "out of memory (2)"
std::string Describe(const Driver& driver, DriverResult result);

}  // namespace k2::cuda

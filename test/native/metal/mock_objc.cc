#include "mock_objc.h"

#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "gpu/emulator.h"
#include "metal/objc.h"

namespace k2::test {

MockMetal& Mock() {
  static MockMetal mock;
  return mock;
}

namespace {

using Method = void (*)();
using Id = void*;

void Mistake(const std::string& what) {
  if (Mock().mistake.empty()) Mock().mistake = what;
}

struct Class {
  std::string name;
  std::map<std::string, Method> methods;
};

struct Instance {
  explicit Instance(const Class& c) : of(&c) { ++Mock().live_objects; }
  virtual ~Instance() { --Mock().live_objects; }
  const Class* of;
  int references = 1;
};

template <typename T>
T& As(Id object) {
  return *static_cast<T*>(static_cast<Instance*>(object));
}

std::vector<std::vector<Instance*>>& Pools() {
  static std::vector<std::vector<Instance*>> pools;
  return pools;
}

void Release(Instance* object) {
  if (--object->references == 0) delete object;
}

// For what a method returns without passing ownership.
Id Autoreleased(Instance* object) {
  if (Pools().empty()) {
    Mistake("an object is returned where there is no pool");
  } else {
    Pools().back().push_back(object);
  }
  return object;
}

template <typename F>
Method Of(F* function) {
  return reinterpret_cast<Method>(function);
}

struct String final : Instance {
  String(const Class& c, std::string t) : Instance(c), text(std::move(t)) {}
  std::string text;
};
const Class string_class = {
    "NSString",
    {{"UTF8String", Of(+[](Id self, Id) -> const char* { return As<String>(self).text.c_str(); })}}};
Id NewString(const std::string& text) { return Autoreleased(new String(string_class, text)); }

struct Error final : Instance {
  Error(const Class& c, std::string t, long n) : Instance(c), text(std::move(t)), code(n) {}
  std::string text;
  long code;
};
const Class error_class = {
    "NSError",
    {{"localizedDescription", Of(+[](Id self, Id) { return NewString(As<Error>(self).text); })},
     {"code", Of(+[](Id self, Id) { return As<Error>(self).code; })}}};
Id NewError(const std::string& text, long code) { return Autoreleased(new Error(error_class, text, code)); }

struct Buffer final : Instance {
  Buffer(const Class& c, void* d, size_t n, bool o) : Instance(c), data(d), size(n), is_own(o) {
    ++Mock().live_buffers;
    Live().insert(this);
  }
  ~Buffer() override {
    --Mock().live_buffers;
    Live().erase(this);
    if (is_own) delete[] static_cast<uint8_t*>(data);
  }
  static std::set<const Buffer*>& Live() {
    static std::set<const Buffer*> live;
    return live;
  }
  void* data;
  size_t size;
  bool is_own;
};
const Class buffer_class = {
    "MTLBuffer",
    {{"gpuAddress", Of(+[](Id self, Id) { return reinterpret_cast<uint64_t>(As<Buffer>(self).data); })},
     {"contents", Of(+[](Id self, Id) { return As<Buffer>(self).data; })}}};

struct Function final : Instance {
  Function(const Class& c, const emulator::Kernel* k) : Instance(c), kernel(k) {}
  const emulator::Kernel* kernel;
};
const Class function_class = {"MTLFunction", {}};
const Class pipeline_class = {
    "MTLComputePipelineState",
    {{"threadExecutionWidth", Of(+[](Id, Id) { return Mock().lanes; })},
     {"maxTotalThreadsPerThreadgroup", Of(+[](Id, Id) { return Mock().most_threads; })}}};

struct Size {
  unsigned long width, height, depth;
};

struct Commands final : Instance {
  using Instance::Instance;
  struct Dispatch {
    const emulator::Kernel* kernel;
    const void* arguments;
    Size groups;
    unsigned long threads;
  };
  std::vector<Dispatch> dispatches;
  std::set<const Buffer*> used;
  bool is_encoding = false, is_committed = false, is_done = false;
  std::string error;
};

struct Encoder final : Instance {
  Encoder(const Class& c, Commands* o) : Instance(c), commands(o) {}
  Commands* commands;
  const emulator::Kernel* kernel = nullptr;
  const uint8_t* arguments = nullptr;
};

const Class encoder_class = {
    "MTLComputeCommandEncoder",
    {{"useResource:usage:", Of(+[](Id self, Id, Id buffer, unsigned long usage) {
        if (usage != 3) Mistake("a resource is used for reading or writing alone");
        As<Encoder>(self).commands->used.insert(&As<Buffer>(buffer));
      })},
     {"setComputePipelineState:",
      Of(+[](Id self, Id, Id state) { As<Encoder>(self).kernel = As<Function>(state).kernel; })},
     {"setBuffer:offset:atIndex:", Of(+[](Id self, Id, Id buffer, unsigned long offset, unsigned long index) {
        if (index != 0 || offset % 256 != 0) Mistake("arguments at a wrong place");
        As<Encoder>(self).arguments = static_cast<const uint8_t*>(As<Buffer>(buffer).data) + offset;
      })},
     {"dispatchThreadgroups:threadsPerThreadgroup:", Of(+[](Id self, Id, Size groups, Size threads) {
        Encoder& encoder = As<Encoder>(self);
        if (threads.height != 1 || threads.depth != 1) Mistake("threads in more than one dimension");
        encoder.commands->dispatches.push_back({encoder.kernel, encoder.arguments, groups, threads.width});
        ++Mock().dispatches;
      })},
     {"memoryBarrierWithScope:", Of(+[](Id, Id, unsigned long scope) {
        if (scope != 1) Mistake("a barrier that is not of buffers");
      })},
     {"endEncoding", Of(+[](Id self, Id) { As<Encoder>(self).commands->is_encoding = false; })}}};

void RunCommands(Commands& commands) {
  if (!commands.is_committed) Mistake("commands are waited for that were never committed");
  if (commands.is_done) return;
  commands.is_done = true;
  commands.error = Mock().command_error;
  for (const Commands::Dispatch& d : commands.dispatches) {
    if (!commands.error.empty()) return;
    commands.error = emulator::Run(
        {.kernel = d.kernel,
         .arguments = d.arguments,
         .groups = {static_cast<uint32_t>(d.groups.width), static_cast<uint32_t>(d.groups.height),
                    static_cast<uint32_t>(d.groups.depth)},
         .threads = static_cast<uint32_t>(d.threads)});
  }
}

const Class commands_class = {
    "MTLCommandBuffer",
    {{"computeCommandEncoder", Of(+[](Id self, Id) {
        As<Commands>(self).is_encoding = true;
        return Autoreleased(new Encoder(encoder_class, &As<Commands>(self)));
      })},
     {"commit", Of(+[](Id self, Id) {
        Commands& commands = As<Commands>(self);
        if (commands.is_encoding || commands.is_committed) Mistake("commands committed too early or twice");
        // A kernel may reach any buffer by its address.
        for (const Buffer* buffer : Buffer::Live()) {
          if (!commands.used.contains(buffer)) Mistake("a buffer that kernels may reach is not resident");
        }
        commands.is_committed = true;
        ++Mock().command_buffers;
      })},
     {"waitUntilCompleted", Of(+[](Id self, Id) { RunCommands(As<Commands>(self)); })},
     {"status", Of(+[](Id self, Id) { return As<Commands>(self).error.empty() ? 4ul : 5ul; })},
     {"error",
      Of(+[](Id self, Id) { return NewError(As<Commands>(self).error, Mock().command_error_code); })}}};
const Class queue_class = {
    "MTLCommandQueue",
    {{"commandBuffer", Of(+[](Id, Id) { return Autoreleased(new Commands(commands_class)); })}}};

const Class library_class = {"MTLLibrary",
                             {{"newFunctionWithName:", Of(+[](Id, Id, Id name) -> Id {
                                 const emulator::Kernel* kernel = emulator::FindKernel(As<String>(name).text);
                                 return kernel == nullptr ? nullptr : new Function(function_class, kernel);
                               })}}};
const Class options_class = {"MTLCompileOptions",
                             {{"init", Of(+[](Id self, Id) { return self; })},
                              {"setFastMathEnabled:", Of(+[](Id, Id, bool is_fast) {
                                 if (is_fast) Mistake("fast math");
                               })},
                              {"setLanguageVersion:", Of(+[](Id, Id, unsigned long version) {
                                 if (version != 0x30000) Mistake("another language than Metal 3.0");
                               })}}};

Id NewBuffer(void* data, size_t bytes, bool is_own) {
  if (Mock().failing_buffer > 0 && --Mock().failing_buffer == 0) {
    if (is_own) delete[] static_cast<uint8_t*>(data);
    return nullptr;
  }
  return static_cast<Instance*>(new Buffer(buffer_class, data, bytes, is_own));
}

const Class device_class = {
    "MTLDevice",
    {{"name", Of(+[](Id, Id) { return NewString("a mock of a GPU"); })},
     {"supportsFamily:", Of(+[](Id, Id, long family) { return family == 5001 && Mock().has_metal3; })},
     {"hasUnifiedMemory", Of(+[](Id, Id) { return true; })},
     {"maxBufferLength", Of(+[](Id, Id) -> unsigned long { return Mock().longest_buffer; })},
     {"newCommandQueue", Of(+[](Id, Id) -> Id { return new Instance(queue_class); })},
     {"newLibraryWithSource:options:error:", Of(+[](Id, Id, Id source, Id, Id* error) -> Id {
        Mock().source = As<String>(source).text;
        if (Mock().compile_error.empty()) return new Instance(library_class);
        *error = NewError(Mock().compile_error, 3);
        return nullptr;
      })},
     {"newComputePipelineStateWithFunction:error:", Of(+[](Id, Id, Id function, Id*) -> Id {
        return static_cast<Instance*>(new Function(pipeline_class, As<Function>(function).kernel));
      })},
     {"newBufferWithLength:options:", Of(+[](Id, Id, unsigned long bytes, unsigned long options) {
        if (options != 0 || bytes > Mock().longest_buffer) Mistake("a buffer that the GPU cannot have");
        uint8_t* const data = new uint8_t[bytes];
        std::memset(data, 0xff, bytes);
        return NewBuffer(data, bytes, true);
      })},
     {"newBufferWithBytesNoCopy:length:options:deallocator:",
      Of(+[](Id, Id, void* data, unsigned long bytes, unsigned long options, void* deallocator) {
        const uint64_t page = static_cast<uint64_t>(getpagesize());
        if ((reinterpret_cast<uint64_t>(data) | bytes) % page != 0) Mistake("memory that is not whole pages");
        if (options != 0 || deallocator != nullptr || bytes > Mock().longest_buffer)
          Mistake("memory that the GPU cannot take");
        return NewBuffer(data, bytes, false);
      })}}};

// Classes as receivers.
const Class string_metaclass = {
    "NSString", {{"stringWithUTF8String:", Of(+[](Id, Id, const char* text) { return NewString(text); })}}};
const Class options_metaclass = {"MTLCompileOptions",
                                 {{"alloc", Of(+[](Id, Id) -> Id { return new Instance(options_class); })}}};

}  // namespace
}  // namespace k2::test

using namespace k2::test;

void* objc_getClass(const char* name) {
  for (const Class* c : {&string_metaclass, &options_metaclass}) {
    if (c->name != name) continue;
    static std::map<const Class*, std::unique_ptr<Instance>> receivers;
    std::unique_ptr<Instance>& receiver = receivers[c];
    if (receiver == nullptr) {
      receiver = std::make_unique<Instance>(*c);
      --Mock().live_objects;  // it stays
    }
    return receiver.get();
  }
  Mistake(std::string("unknown class ") + name);
  return nullptr;
}

void* object_getClass(void* object) { return const_cast<Class*>(static_cast<Instance*>(object)->of); }

void* sel_registerName(const char* name) {
  static std::set<std::string> names;
  return const_cast<char*>(names.insert(name).first->c_str());
}

void (*class_getMethodImplementation(void* of_class, void* selector))() {
  const Class& c = *static_cast<const Class*>(of_class);
  const auto found = c.methods.find(static_cast<const char*>(selector));
  if (found != c.methods.end()) return found->second;
  Mistake(c.name + " has no method " + static_cast<const char*>(selector));
  return Of(+[](Id, Id) -> Id { return nullptr; });
}

void* objc_retain(void* object) {
  ++static_cast<Instance*>(object)->references;
  return object;
}
void objc_release(void* object) { Release(static_cast<Instance*>(object)); }

void* objc_autoreleasePoolPush() {
  Pools().emplace_back();
  return reinterpret_cast<void*>(Pools().size());
}
void objc_autoreleasePoolPop(void* pool) {
  if (reinterpret_cast<size_t>(pool) != Pools().size()) Mistake("pools are not popped in order");
  const std::vector<Instance*> objects = std::move(Pools().back());
  Pools().pop_back();
  for (Instance* object : objects) Release(object);
}

void* MTLCreateSystemDefaultDevice() {
  return Mock().has_gpu ? static_cast<Instance*>(new Instance(device_class)) : nullptr;
}

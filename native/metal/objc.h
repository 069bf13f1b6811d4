// The few functions of the Objective-C runtime with which apple_device.cc speaks to Metal. They are declared
// here, and not taken from Apple's headers, so that the host side compiles everywhere and the tests can stand
// in for the runtime.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

extern "C" {
void* objc_getClass(const char* name);
void* object_getClass(void* object);
void* sel_registerName(const char* name);
void (*class_getMethodImplementation(void* of_class, void* selector))();
void* objc_retain(void* object);
void objc_release(void* object);
void* objc_autoreleasePoolPush();
void objc_autoreleasePoolPop(void* pool);
void* MTLCreateSystemDefaultDevice();
}

namespace k2::metal::objc {

using Object = void*;

// A selector as an argument of a template.
template <size_t n>
struct Name {
  char text[n];
  constexpr Name(const char (&name)[n]) { std::copy(name, name + n, text); }
};

// [object name: arguments...]. The types must be exactly those of the method.
template <Name name, typename Returned = Object, typename... Arguments>
Returned Send(Object object, Arguments... arguments) {
  static void* const selector = sel_registerName(name.text);
  const auto method = reinterpret_cast<Returned (*)(Object, void*, Arguments...)>(
      class_getMethodImplementation(object_getClass(object), selector));
  return method(object, selector, arguments...);
}

// Owns a reference.
class Ref {
 public:
  Ref() = default;
  // Of what a method named new, alloc or Create returned.
  static Ref Adopt(Object object) { return Ref(object); }
  // Of anything else.
  static Ref Retain(Object object) { return Ref(object == nullptr ? nullptr : objc_retain(object)); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) objc_release(object_);
  }

  Object get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  explicit Ref(Object object) : object_(object) {}
  Object object_ = nullptr;
};

// What methods returned without passing ownership goes at the end of the block.
class Pool {
 public:
  Pool() : pool_(objc_autoreleasePoolPush()) {}
  ~Pool() { objc_autoreleasePoolPop(pool_); }
  Pool(const Pool&) = delete;

 private:
  void* pool_;
};

// Of an NSString that may be null.
inline std::string Text(Object string) {
  const char* text = string == nullptr ? nullptr : Send<"UTF8String", const char*>(string);
  return text == nullptr ? std::string("no reason") : std::string(text);
}

}  // namespace k2::metal::objc

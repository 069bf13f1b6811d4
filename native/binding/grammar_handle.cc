#include "binding/convert.h"
#include "binding/handles.h"

namespace k2 {

Napi::Function GrammarHandle::Define(Napi::Env env) {
  return DefineClass(env, "NativeGrammar", {InstanceAccessor<&GrammarHandle::Bytes>("bytes")});
}

Napi::Value GrammarHandle::Wrap(Napi::Env env, std::shared_ptr<const GrammarProgram> program) {
  return Environment::Of(env).grammar_class.New({Napi::External<decltype(program)>::New(env, &program)});
}

std::shared_ptr<const GrammarProgram> GrammarHandle::Read(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  const Napi::Object object = value.As<Napi::Object>();
  if (!object.InstanceOf(Environment::Of(value.Env()).grammar_class.Value())) return nullptr;
  // An object that only inherits from the class has nothing to unwrap.
  const GrammarHandle* handle = Unwrap(object);
  if (value.Env().IsExceptionPending()) value.Env().GetAndClearPendingException();
  return handle == nullptr ? nullptr : handle->program_;
}

GrammarHandle::GrammarHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (info.Length() == 1 && info[0].IsExternal()) {
    program_ = *info[0].As<Napi::External<std::shared_ptr<const GrammarProgram>>>().Data();
  } else {
    Napi::TypeError::New(info.Env(), "NativeGrammar is made by createGrammar").ThrowAsJavaScriptException();
  }
}

Napi::Value GrammarHandle::Bytes(const Napi::CallbackInfo& info) {
  const int64_t bytes = program_ == nullptr ? 0 : program_->bytes;
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

}  // namespace k2

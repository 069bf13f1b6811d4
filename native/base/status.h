// How every fallible function reports: a Status, or a Result<T> that holds either a value or a Status.
// No exception crosses a room (std::bad_alloc is caught where a job starts and becomes kOutOfMemory),
// and nothing here prints, aborts or exits: the host process is somebody's application.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace k2 {

// The order matches the table of names in status.cc; the names are the `code` of TypeScript's K2Error.
enum class ErrorCode {
  kOk,
  kInvalidArgument,
  kInvalidCheckpoint,
  kIo,
  kOutOfMemory,
  kUnavailable,
  kContextFull,
  kNumericalFault,
  kInvalidState,
  kAborted,
  kDamagedFile,
  kIncompatibleFile,
  kInternal,
};

const char* ErrorCodeName(ErrorCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == ErrorCode::kOk; }
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  ErrorCode code_ = ErrorCode::kOk;
  std::string message_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::move(value)) {}
  Result(Status status) : held_(std::move(status)) {}

  bool ok() const { return std::holds_alternative<T>(held_); }
  T& value() { return *std::get_if<T>(&held_); }
  const T& value() const { return *std::get_if<T>(&held_); }
  Status status() const { return ok() ? Status() : *std::get_if<Status>(&held_); }

 private:
  std::variant<T, Status> held_;
};

}  // namespace k2

// Returns from the enclosing function when `expression` is a failed Status.
#define K2_RETURN_IF_ERROR(expression)                                            \
  do {                                                                            \
    if (::k2::Status k2_status = (expression); !k2_status.ok()) return k2_status; \
  } while (false)

// Reading what the router chose on a timeline.
#include "engine/engine.h"

namespace k2 {

Status Engine::Routing(std::shared_ptr<Session> session, int64_t first, RoutingRows rows,
                       StatusCallback finish) {
  K2_RETURN_IF_ERROR(Begin(*session, Session::Activity::kWorking, "routing"));
  Status status;
  const int64_t position = session->position.load();
  if (session->cache.trace() == nullptr) {
    status = Status(ErrorCode::kInvalidState,
                    "Expected a session that keeps a trace for routing, got one without");
  } else if (first < 0 || rows.count < 0 || first > position - rows.count) {
    status = Status(ErrorCode::kInvalidArgument, "Expected positions of 0.." + std::to_string(position) +
                                                     " for routing, got " + std::to_string(first) + ".." +
                                                     std::to_string(first + rows.count));
  } else {
    status = Post([session, first, rows, finish = std::move(finish)] {
      session->cache.trace()->Read(first, rows);
      session->activity.store(Session::Activity::kIdle);
      finish({});
    });
  }
  if (!status.ok()) session->activity.store(Session::Activity::kIdle);
  return status;
}

}  // namespace k2

// What files have to do with sessions: saving and restoring them, and the directory of stored pages. The
// engine thread takes a snapshot or adopts a result; everything that may wait for a disk is a job of the file
// thread. Pages of a snapshot are shared, hence never written to, and are let go of on the engine thread.
#include <algorithm>
#include <new>

#include "engine/engine.h"
#include "model/fingerprint.h"

namespace k2 {
namespace {

// Pages that wait to be stored may be all that is left of their sessions.
constexpr int64_t kMostBytesToStore = int64_t{2} << 30;

Status OutOfMemory(const char* call) {
  return Status(ErrorCode::kOutOfMemory,
                std::string("Expected memory for ") + call + ", got a refusal of the system");
}

Status ModelDisposed() {
  return Status(ErrorCode::kInvalidState, "Expected the model to live until the call ends, got dispose");
}

}  // namespace

void Engine::Return(std::function<void()> run) {
  std::lock_guard lock(mutex_);
  jobs_.push_back({std::move(run), nullptr});
  wake_.notify_all();
}

Status Engine::CheckFileCall(const Session& session) const {
  if (stopping_.load()) return ModelDisposed();
  return session.Interruption();
}

Result<SessionFormat> Engine::FormatOfFiles() {
  if (!fingerprint_) fingerprint_ = FingerprintOf(spec_, model_->weights());
  if (!fingerprint_->ok()) return fingerprint_->status();
  return SessionFormat{.fingerprint = fingerprint_->value(),
                       .backend = model_->backend().name(),
                       .cache_type = options_.cache_type,
                       .layers = spec_.layers,
                       .page_bytes = model_->NewCache().page_bytes(),
                       .vocab = spec_.vocab,
                       .context_tokens = options_.context_tokens};
}

Status Engine::Save(std::shared_ptr<Session> session, std::string path, std::string note,
                    StatusCallback finish) {
  if (static_cast<int64_t>(note.size()) > kMostNoteBytes) {
    return Status(ErrorCode::kInvalidArgument, "Expected at most " + std::to_string(kMostNoteBytes) +
                                                   " bytes of messages and tools for save, got " +
                                                   std::to_string(note.size()));
  }
  K2_RETURN_IF_ERROR(Begin(*session, Session::Activity::kWorking, "save"));
  const auto settle = [session, finish = std::move(finish)](Status result) {
    session->activity.store(Session::Activity::kIdle);
    finish(std::move(result));
  };
  Status status = Post(
      [this, session, path = std::move(path), note = std::move(note), settle]() mutable {
        const auto content = std::make_shared<SessionContent>();
        content->tokens = session->tokens;
        content->pending = session->pending;
        content->pages.assign(session->cache.pages().begin(), session->cache.pages().end());
        content->pages.resize(
            static_cast<size_t>((content->cached() + KvCache::kPageTokens - 1) / KvCache::kPageTokens));
        content->logits = session->logits;
        content->note = std::move(note);
        const bool added = files_.Add([this, session, content, path = std::move(path), settle]() mutable {
          Status result;
          try {
            const Result<SessionFormat> format = FormatOfFiles();
            result = format.ok() ? WriteSessionFile(path, format.value(), *content,
                                                    [&] {
                                                      files_.ServeUrgent();
                                                      return CheckFileCall(*session);
                                                    })
                                 : format.status();
          } catch (const std::bad_alloc&) {
            result = OutOfMemory("save");
          }
          Return([content = std::move(content), settle, result = std::move(result)] { settle(result); });
        });
        if (!added) settle(stopping_.load() ? ModelDisposed() : OutOfMemory("the thread that saves"));
      },
      settle);
  if (!status.ok()) session->activity.store(Session::Activity::kIdle);
  return status;
}

Status Engine::Restore(std::shared_ptr<Session> session, std::string path, RestoreCallback finish) {
  K2_RETURN_IF_ERROR(Begin(*session, Session::Activity::kWorking, "restore"));
  Status status;
  if (session->position.load() != 0) {
    status = Status(ErrorCode::kInvalidState, "Expected an empty session for restore, got one with tokens");
  } else {
    const auto settle = [session, finish = std::move(finish)](const Status& result, std::string note) {
      session->activity.store(Session::Activity::kIdle);
      finish(result, session->tokens, std::move(note));
    };
    auto begin = [this, session, path = std::move(path), settle]() mutable {
      const bool added = files_.Add([this, session, path = std::move(path), settle] {
        Result<SessionContent> read = OutOfMemory("restore");
        try {
          const Result<SessionFormat> format = FormatOfFiles();
          read = format.ok() ? ReadSessionFile(path, format.value(),
                                               [&] {
                                                 files_.ServeUrgent();
                                                 return CheckFileCall(*session);
                                               })
                             : format.status();
        } catch (const std::bad_alloc&) {
        }
        Return([this, session, settle, read = std::move(read)]() mutable {
          Status result = read.ok() ? CheckFileCall(*session) : read.status();
          if (!result.ok()) return settle(result, {});
          SessionContent& content = read.value();
          session->cache.Adopt(std::move(content.pages), content.cached());
          session->tokens = std::move(content.tokens);
          session->pending = content.pending;
          session->logits = std::move(content.logits);
          session->restored = true;
          session->position.store(static_cast<int64_t>(session->tokens.size()));
          settle({}, std::move(content.note));
        });
      });
      if (!added) settle(stopping_.load() ? ModelDisposed() : OutOfMemory("the thread that restores"), {});
    };
    status = Post(std::move(begin), [settle](const Status& failure) { settle(failure, {}); });
  }
  if (!status.ok()) session->activity.store(Session::Activity::kIdle);
  return status;
}

Status Engine::OpenPageStore() {
  if (options_.prefix_cache_directory.empty()) return {};
  K2_RETURN_IF_ERROR(PageStore::Prepare(options_.prefix_cache_directory));
  page_store_ =
      std::make_unique<PageStore>(options_.prefix_cache_directory, options_.prefix_cache_directory_bytes,
                                  model_->NewCache().page_bytes());
  // Urgent, so that no search goes before it.
  const bool added = files_.AddUrgent([this] {
    try {
      const Result<SessionFormat> format = FormatOfFiles();
      if (format.ok()) page_store_->Open(format.value().fingerprint, model_->backend().kernel_set());
    } catch (const std::bad_alloc&) {
      // Then the store stays closed, and everything is computed.
    }
  });
  return added ? Status() : OutOfMemory("the thread of prefixCacheDirectory");
}

void Engine::LookUpStoredPages(const std::shared_ptr<Session>& session) {
  if (page_store_ == nullptr) return;
  constexpr int64_t kPage = KvCache::kPageTokens;
  PrefillTask& task = *session->prefill;
  const int64_t held = session->cache.length();
  const size_t own = session->tokens.size() - (session->pending ? 1 : 0);
  const auto path = std::make_shared<PagePath>();
  path->ids.assign(session->tokens.begin(), session->tokens.begin() + static_cast<std::ptrdiff_t>(own));
  path->ids.insert(path->ids.end(), task.ids.begin(), task.ids.end());
  // The last token is computed in any case: its logits are wanted.
  const int64_t pages = (static_cast<int64_t>(path->ids.size()) - 1) / kPage;
  path->ids.resize(static_cast<size_t>(pages * kPage));
  for (int64_t i = 0; i < pages; ++i) path->expanded.push_back(FormBits(session->cache, i, task.form));
  if (pages * kPage <= held) {
    // Nothing to find, but in use.
    (void)files_.Add([this, path] {
      try {
        page_store_->Touch(*path);
      } catch (const std::bad_alloc&) {
      }
    });
    return;
  }
  const uint64_t lookup = ++lookups_;
  const bool added =
      files_.AddUrgent([this, session, path, lookup, first = static_cast<size_t>(held / kPage)] {
        std::vector<KvCache::Page> found;
        try {
          found = page_store_->Find(*path, first);
        } catch (const std::bad_alloc&) {
        }
        Return([this, session, lookup, found = std::move(found)] {
          // The prefill may have been aborted meanwhile, and another may wait.
          if (session->settled || !session->prefill || session->prefill->lookup != lookup) return;
          session->prefill->lookup = 0;
          AdoptStoredPages(*session, found);
        });
      });
  task.lookup = added ? lookup : 0;
}

void Engine::AdoptStoredPages(Session& session, const std::vector<KvCache::Page>& found) {
  if (found.empty()) return;
  const int64_t held = session.cache.length();
  const int64_t kept = held / KvCache::kPageTokens;
  const int64_t reached = (kept + static_cast<int64_t>(found.size())) * KvCache::kPageTokens;
  try {
    std::vector<KvCache::Page> pages(session.cache.pages().begin(), session.cache.pages().begin() + kept);
    pages.insert(pages.end(), found.begin(), found.end());
    session.cache.Adopt(std::move(pages), reached);
  } catch (const std::bad_alloc&) {
    return;  // then they are computed
  }
  PrefillTask& task = *session.prefill;
  task.done += static_cast<size_t>(reached - held);
  session.cached_tokens.store(static_cast<int64_t>(task.done - (session.pending ? 1 : 0)));
}

void Engine::StorePages(Session& session) {
  if (page_store_ == nullptr) return;
  constexpr int64_t kPage = KvCache::kPageTokens;
  const std::span<const KvCache::Page> pages =
      session.cache.pages().first(static_cast<size_t>(session.cache.length() / kPage));
  size_t first = pages.size();
  while (first > 0 && !pages[first - 1]->stored) --first;
  const int64_t most = (kMostBytesToStore - bytes_to_store_) / session.cache.page_bytes();
  const size_t count =
      static_cast<size_t>(std::clamp<int64_t>(most, 0, static_cast<int64_t>(pages.size() - first)));
  if (count == 0) return;

  struct Work {
    PagePath path;
    std::vector<KvCache::Page> pages;
  };
  try {
    const auto work = std::make_shared<Work>();
    const size_t end = first + count;
    work->path.ids.assign(session.tokens.begin(),
                          session.tokens.begin() + static_cast<std::ptrdiff_t>(end) * kPage);
    for (const KvCache::Page& page : pages.first(end)) work->path.expanded.push_back(page->expanded);
    work->pages.assign(pages.begin() + static_cast<std::ptrdiff_t>(first),
                       pages.begin() + static_cast<std::ptrdiff_t>(end));
    const int64_t bytes = static_cast<int64_t>(count) * session.cache.page_bytes();
    const bool added = files_.Add([this, work, bytes]() mutable {
      try {
        page_store_->Store(work->path, work->pages, [this] {
          files_.ServeUrgent();
          return !abandon_pages_.load();
        });
      } catch (const std::bad_alloc&) {
      }
      Return([this, work = std::move(work), bytes] { bytes_to_store_ -= bytes; });
    });
    if (!added) return;
    bytes_to_store_ += bytes;
    for (size_t i = first; i < end; ++i) pages[i]->stored = true;
  } catch (const std::bad_alloc&) {
    // Then they are not stored.
  }
}

}  // namespace k2

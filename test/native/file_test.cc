// Checksums against published values, and files that are whole or not there.
#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include "base/crc32c.h"
#include "base/sha256.h"
#include "check.h"
#include "temporary_folder.h"

namespace k2 {

using test::ReadBytes;
using test::TemporaryFolder;
using test::WriteBytes;

TEST(Crc32cOfPublishedData) {
  // RFC 3720, B.4.
  std::vector<uint8_t> bytes(32, 0);
  EXPECT(Crc32c(0, bytes.data(), 32) == 0x8a9136aa);
  bytes.assign(32, 0xff);
  EXPECT(Crc32c(0, bytes.data(), 32) == 0x62a8ab43);
  for (size_t i = 0; i < 32; ++i) bytes[i] = static_cast<uint8_t>(i);
  EXPECT(Crc32c(0, bytes.data(), 32) == 0x46dd794e);
  EXPECT(Crc32c(0, "123456789", 9) == 0xe3069283);
  EXPECT(Crc32c(7, nullptr, 0) == 7);
}

TEST(Crc32cByInstructionIsThatByTables) {
  std::mt19937 random(1);
  std::vector<uint8_t> bytes(600);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t first = 0; first < 16; ++first) {
    for (size_t size = 0; size < 500; size += 1 + size / 40) {
      const uint32_t seed = static_cast<uint32_t>(random());
      const uint32_t whole = Crc32c(seed, bytes.data() + first, size);
      EXPECT(whole == Crc32cByTable(seed, bytes.data() + first, size));
      const size_t cut = size / 3;
      const uint32_t front = Crc32cByTable(seed, bytes.data() + first, cut);
      EXPECT(whole == Crc32c(front, bytes.data() + first + cut, size - cut));
    }
  }
}

TEST(Sha256OfPublishedData) {
  const auto hex = [](const std::string& text) {
    Sha256 hash;
    hash.Add(text.data(), text.size());
    return ToHex(hash.Finish());
  };
  EXPECT(hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT(hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT(hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT(hex(std::string(1'000'000, 'a')) ==
         "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  for (size_t size = 0; size < 200; ++size) {
    const std::string text(size, 'x');
    Sha256 pieces;
    for (size_t first = 0; first < size; first += 7)
      pieces.Add(&text[first], std::min<size_t>(7, size - first));
    EXPECT(ToHex(pieces.Finish()) == hex(text));
  }
}

TEST(NewFileReplacesInOneStep) {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  WriteBytes(path, "old");
  {
    Result<NewFile> file = NewFile::Create(path);
    EXPECT(file.ok() && file.value().Write("unfinished", 10).ok());
    EXPECT(ReadBytes(path) == "old");
  }
  EXPECT(folder.Names() == std::vector<std::string>{"x"});
  Result<NewFile> file = NewFile::Create(path);
  EXPECT(file.value().Write("ne", 2).ok() && file.value().Write("w", 1).ok());
  EXPECT(file.value().Publish(true).ok());
  EXPECT(ReadBytes(path) == "new" && folder.Names() == std::vector<std::string>{"x"});
  struct stat information = {};
  EXPECT(stat(path.c_str(), &information) == 0 && (information.st_mode & 0777) == 0600);
}

TEST(NewFileTakesOverWhatAKilledWriterLeft) {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  WriteBytes(path + ".partial", "much more than the new content has");
  Result<NewFile> file = NewFile::Create(path);
  EXPECT(file.ok() && file.value().Write("new", 3).ok() && file.value().Publish(false).ok());
  EXPECT(ReadBytes(path) == "new" && folder.Names() == std::vector<std::string>{"x"});

  WriteBytes(path + ".partial", "left");
  {
    const FileDescriptor writer(open((path + ".partial").c_str(), O_WRONLY));
    EXPECT(flock(writer.number(), LOCK_EX) == 0);
    const Result<NewFile> second = NewFile::Create(path);
    EXPECT(second.status().code() == ErrorCode::kIo);
    EXPECT(second.status().message() == "Expected nobody else to write " + path + ", got a writer at work");
    NewFile::RemoveLeftover(path);
    EXPECT(ReadBytes(path + ".partial") == "left");
  }
  NewFile::RemoveLeftover(path);
  EXPECT(ReadBytes(path) == "new" && folder.Names() == std::vector<std::string>{"x"});
}

TEST(NewFileRefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "folder");
  EXPECT(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  for (const char* name : {"folder", "pipe", "absent/x"}) {
    const Status status = NewFile::Create(folder / name).status();
    EXPECT(status.code() == ErrorCode::kIo && status.message().find(folder / name) != std::string::npos);
    EXPECT(InputFile::Open(folder / name).status().code() == ErrorCode::kIo);
  }
  EXPECT((folder.Names() == std::vector<std::string>{"folder", "pipe"}));
}

TEST(NewFileOfManyWritersIsAlwaysThatOfOne) {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  WriteBytes(path, std::string(5000, 'z'));
  std::atomic<int> published{0};
  std::atomic<bool> failed{false};
  std::vector<std::thread> writers;
  for (const char letter : {'a', 'b', 'c'}) {
    writers.emplace_back([&, letter] {
      const std::string content(5000, letter);
      for (int i = 0; i < 2000; ++i) {
        Result<NewFile> file = NewFile::Create(path);
        if (!file.ok()) continue;
        const Status written = file.value().Write(content.data(), content.size());
        if (!written.ok() || !file.value().Publish(false).ok()) failed.store(true);
        ++published;
      }
    });
  }
  for (int i = 0; i < 2000; ++i) {
    const std::string content = ReadBytes(path);
    if (content != std::string(5000, content.empty() ? '-' : content[0])) failed.store(true);
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT(!failed.load() && published.load() > 100);
  EXPECT(folder.Names() == std::vector<std::string>{"x"});
}

TEST(NewFileSurvivesEveryFailedCall) {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  bool clean = false;
  for (int k = 1; k < 20 && !clean; ++k) {
    WriteBytes(path, "old");
    FailFileCallForTest(k);
    Status status;
    {
      Result<NewFile> file = NewFile::Create(path);
      status = file.status();
      if (status.ok()) status = file.value().Write("new", 3);
      if (status.ok()) status = file.value().Publish(true);
    }
    clean = status.ok();
    FailFileCallForTest(0);
    EXPECT(clean || (status.code() == ErrorCode::kIo && status.message().find(path) != std::string::npos));
    // Behind the renaming only the folder is left to be brought to the disk.
    const std::string content = ReadBytes(path);
    EXPECT(content == "new" || (!clean && content == "old"));
    EXPECT(folder.Names() == std::vector<std::string>{"x"});
  }
  EXPECT(clean);
}

}  // namespace k2

// What the native build needs of the machine, and the one line that says what is missing and how to install it.
import { spawnSync } from "node:child_process";

const OLDEST_CMAKE = [3, 21];

/** Uses what the sources need of C++20: an old compiler fails here, in one line, and not in the middle of a build. */
const CPP_PROBE = `
#include <atomic>
#include <concepts>
#include <span>
static_assert(__cplusplus >= 202002L);
int main() { std::atomic<int> value{0}; value.notify_all(); int one[1] = {0}; return std::span<int>(one)[0]; }
`;

const PACKAGES = {
  "apt-get": "apt-get install cmake g++ make",
  dnf: "dnf install cmake gcc-c++ make",
  apk: "apk add cmake g++ make",
  pacman: "pacman -S cmake gcc make",
};

/** The first of the commands that can be run, or undefined. */
export function findCommand(...names) {
  return names.find(
    (name) => name && spawnSync(name, ["--version"], { stdio: "ignore" }).error === undefined,
  );
}

function cmakeIsMissing() {
  const { error, stdout } = spawnSync("cmake", ["--version"], { encoding: "utf8" });
  const [major, minor] = /(\d+)\.(\d+)/
    .exec(error ? "" : stdout)
    ?.slice(1)
    .map(Number) ?? [0, 0];
  return major < OLDEST_CMAKE[0] || (major === OLDEST_CMAKE[0] && minor < OLDEST_CMAKE[1]);
}

/** Whether the compiler takes a small C++20 program with these flags. */
function compiles(...flags) {
  const compiler = findCommand(process.env.CXX, "c++", "g++", "clang++");
  if (compiler === undefined) return false;
  const options = { input: CPP_PROBE, stdio: ["pipe", "ignore", "ignore"] };
  return spawnSync(compiler, ["-std=c++20", ...flags, "-x", "c++", "-"], options).status === 0;
}

function installCommand() {
  if (process.platform === "darwin") return "xcode-select --install && brew install cmake";
  const manager = Object.keys(PACKAGES).find((name) => findCommand(name) !== undefined);
  return manager === undefined ? "your package manager: cmake, g++ and make" : PACKAGES[manager];
}

/** Why the addon cannot be built on this machine, as one line, or undefined when it can. */
export function whyNotBuildable() {
  if (process.platform === "win32") {
    return "k2-native has no build for Windows yet. Use it inside WSL (wsl --install), where it needs: apt-get install cmake g++ make";
  }
  const missing = [];
  if (cmakeIsMissing()) missing.push(`CMake ${OLDEST_CMAKE.join(".")} or newer`);
  if (!compiles("-fsyntax-only")) missing.push("a C++20 compiler (g++ 11 or clang 14 at least)");
  if (findCommand("ninja", "make", "gmake") === undefined) missing.push("make or ninja");
  if (missing.length === 0) return undefined;
  const list = missing.join(", ").replace(/, (?=[^,]*$)/, " and ");
  return `k2-native needs ${list} to build its addon. Install with: ${installCommand()}`;
}

/** Why the tests cannot be built with the sanitizers, or undefined when they can. */
export function whyNoSanitizers() {
  if (compiles("-fsanitize=address,undefined", "-o", "/dev/null")) return undefined;
  return "The compiler lacks the sanitizers' libraries; dnf calls them libasan and libubsan, apt brings them with g++.";
}

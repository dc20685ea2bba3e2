// A file system that fails: loaded before the C library (LD_PRELOAD), it lets every operation that
// changes something below a folder fail once, each at the first time it is met.
//
// An operation is known by its kind, its file and how many of its kind that file has met since
// faults_begin (after the first few, one is like another); of temporary files only the name counts
// that they will get, and all keys of calculations are the same.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <mutex>
#include <regex>
#include <set>
#include <string>

namespace {

std::mutex guard;
std::string folder;  // empty: nothing fails
std::string spared;
int number = 0;
int most = 0;
std::string failed;
std::map<std::string, int> met;
std::set<std::string>& done() {
  static std::set<std::string> operations;
  return operations;
}

// Whether an operation on a file is to fail.
bool fails(const char* kind, const std::string& path) {
  const std::lock_guard<std::mutex> lock(guard);
  if (folder.empty() || !failed.empty() || path.rfind(folder + "/", 0) != 0) return false;
  static const std::regex temporary(R"(\.([^/]*)\.[0-9a-f]{32}\.part$)");
  static const std::regex key(R"([0-9a-f]{16,}(-[0-9]+)?)");  // of a calculation
  std::string name = std::regex_replace(path.substr(folder.size() + 1), temporary, "$1.part");
  name = std::regex_replace(name, key, "KEY");
  std::string operation = std::string(kind) + " " + name;
  const int count = ++met[operation];
  operation += " " + std::to_string(count);
  if (count > most || name.rfind(spared, 0) == 0 || !done().insert(operation).second) return false;
  failed = operation;
  errno = number;
  return true;
}

std::string path_of(int file) {
  char target[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  const ssize_t length = readlink(link.c_str(), target, sizeof target);
  return length < 0 ? "" : std::string(target, static_cast<std::size_t>(length));
}

std::string absolute(const char* path) {
  if (path[0] == '/') return path;
  char here[PATH_MAX];
  return getcwd(here, sizeof here) == nullptr ? "" : std::string(here) + "/" + path;
}

bool may_write(int flags) { return (flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0; }

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

// Every operation below `where` but those on the file `but` may fail now, the first `times` of its
// kind.
void faults_begin(const char* where, const char* but, int error, int times) {
  const std::lock_guard<std::mutex> lock(guard);
  folder = where;
  spared = but;
  number = error;
  most = times;
  failed.clear();
  met.clear();
}

// Ends the faults; gives the operation that failed, or nothing.
const char* faults_end() {
  const std::lock_guard<std::mutex> lock(guard);
  folder.clear();
  static std::string result;
  result = failed;
  return result.c_str();
}

#define ON_FILE(type, name, parameters, arguments)            \
  type name parameters {                                      \
    static const auto real = next<type(*) parameters>(#name); \
    return fails(#name, path_of(file)) ? -1 : real arguments; \
  }
ON_FILE(ssize_t, write, (int file, const void* from, size_t count), (file, from, count))
ON_FILE(ssize_t, pwrite, (int file, const void* from, size_t count, off_t at),
        (file, from, count, at))
ON_FILE(ssize_t, pwrite64, (int file, const void* from, size_t count, off64_t at),
        (file, from, count, at))
ON_FILE(int, fsync, (int file), (file))
ON_FILE(int, fdatasync, (int file), (file))
ON_FILE(int, ftruncate, (int file, off_t length), (file, length))
ON_FILE(int, ftruncate64, (int file, off64_t length), (file, length))

#define OPENS(name)                                                        \
  int name(const char* path, int flags, ...) {                             \
    static const auto real = next<int (*)(const char*, int, ...)>(#name);  \
    va_list rest;                                                          \
    va_start(rest, flags);                                                 \
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                          \
    if (may_write(flags) && fails("open", absolute(path))) return -1;      \
    return real(path, flags, mode);                                        \
  }
OPENS(open)
OPENS(open64)

int rename(const char* from, const char* to) noexcept {
  static const auto real = next<int (*)(const char*, const char*)>("rename");
  return fails("rename", absolute(to)) ? -1 : real(from, to);
}

int mkdir(const char* path, mode_t mode) noexcept {
  static const auto real = next<int (*)(const char*, mode_t)>("mkdir");
  return fails("mkdir", absolute(path)) ? -1 : real(path, mode);
}

size_t fwrite(const void* from, size_t size, size_t count, FILE* stream) {
  static const auto real = next<size_t (*)(const void*, size_t, size_t, FILE*)>("fwrite");
  return fails("fwrite", path_of(fileno(stream))) ? 0 : real(from, size, count, stream);
}

}  // extern "C"

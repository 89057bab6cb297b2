/* Counts, traces, fails or kills at calls of the C library that concern files below one directory.

   Loaded with LD_PRELOAD; does nothing until interposer_arm() is called, which a forked Python does through ctypes. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* As in interposer.py. */
enum { DIRECTORY = 1, SYNC = 2, WRITE = 4, MODE = 8, READ = 16 };

static struct {
    int armed, kinds, code, persists, trace, lockless;
    long at, calls, clock;
    size_t length;
    char prefix[PATH_MAX];
} state;

/* Kill at call number `at` if code < 0, else fail it with errno = code, and with `persists` all after it. */
void interposer_arm(const char *prefix, int kinds, long at, int code, int persists, int trace) {
    state.length = strlen(prefix);
    memcpy(state.prefix, prefix, state.length + 1);
    state.kinds = kinds, state.at = at, state.code = code, state.persists = persists, state.trace = trace;
    state.calls = 0;
    state.armed = 1;
}

long interposer_disarm(void) {
    state.armed = 0;
    return state.calls;
}

/* The clock is so many seconds off, and with `lockless` no file can be locked, as on some network file systems. */
void interposer_disturb(long clock, int lockless) {
    state.clock = clock, state.lockless = lockless;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    int result;
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    result = real(id, now);
    if (id == CLOCK_REALTIME)
        now->tv_sec += state.clock;
    return result;
}

int flock(int descriptor, int operation) {
    static int (*real)(int, int);
    if (!real)
        real = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    if (state.lockless) {
        errno = ENOLCK;
        return -1;
    }
    return real(descriptor, operation);
}

static int is_below(const char *path) {
    return strncmp(path, state.prefix, state.length) == 0 && (path[state.length] == '/' || path[state.length] == 0);
}

static ssize_t link_of(const char *link, char *path) {
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length;
}

static void path_of_descriptor(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    link_of(link, path);
}

static void absolute(int directory, const char *name, char *path) {
    char parent[PATH_MAX];
    if (name == NULL || name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name ? name : "");
        return;
    }
    if (directory == AT_FDCWD)
        link_of("/proc/self/cwd", parent);
    else
        path_of_descriptor(directory, parent);
    if (snprintf(path, PATH_MAX, "%s/%s", parent, name) >= PATH_MAX)
        path[0] = 0;
}

/* Returns the errno to fail with, or 0. */
static int strike(int kind, const char *name, const char *path, const char *other) {
    char line[2 * PATH_MAX + 64];
    long call;
    int length, code;
    if (!(is_below(path) || (other && is_below(other))))
        return 0;
    if (!(state.kinds & kind))
        return 0;
    call = __atomic_add_fetch(&state.calls, 1, __ATOMIC_SEQ_CST);
    code = state.at && (call == state.at || (state.persists && call > state.at)) ? state.code : 0;
    if (state.trace >= 0) {
        length = snprintf(line, sizeof line, "%d\t%s\t%s\t%s\t%d\n", kind, name, path, other ? other : "", code);
        syscall(SYS_write, state.trace, line, length);
    }
    if (code < 0)
        syscall(SYS_kill, getpid(), SIGKILL);
    return code;
}

static int strike_at(int kind, const char *name, int directory, const char *path) {
    char full[PATH_MAX];
    int before = errno, code;
    if (!state.armed)
        return 0;
    absolute(directory, path, full);
    code = strike(kind, name, full, NULL);
    errno = before;
    return code;
}

static int strike_two(int kind, const char *name, int first, const char *path, int second, const char *other) {
    char full[PATH_MAX], full_other[PATH_MAX];
    int before = errno, code;
    if (!state.armed)
        return 0;
    absolute(first, path, full);
    absolute(second, other, full_other);
    code = strike(kind, name, full, full_other);
    errno = before;
    return code;
}

static int strike_open(int kind, const char *name, int descriptor) {
    char full[PATH_MAX];
    int before = errno, code;
    if (!state.armed)
        return 0;
    path_of_descriptor(descriptor, full);
    code = strike(kind, name, full, NULL);
    errno = before;
    return code;
}

#define FAIL(strike, failed)   \
    do {                       \
        int code_ = (strike);  \
        if (code_) {           \
            errno = code_;     \
            return failed;     \
        }                      \
    } while (0)

#define CALL(type, name, parameters, arguments, strike, failed)      \
    type name parameters {                                           \
        static type(*real) parameters;                               \
        if (!real)                                                   \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name);      \
        FAIL(strike, failed);                                        \
        return real arguments;                                       \
    }

CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), strike_at(DIRECTORY, "mkdir", AT_FDCWD, path), -1)
CALL(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), strike_at(DIRECTORY, "mkdir", at, path), -1)
CALL(int, rmdir, (const char *path), (path), strike_at(DIRECTORY, "rmdir", AT_FDCWD, path), -1)
CALL(int, unlink, (const char *path), (path), strike_at(DIRECTORY, "unlink", AT_FDCWD, path), -1)
CALL(int, unlinkat, (int at, const char *path, int flags), (at, path, flags),
     strike_at(DIRECTORY, flags & AT_REMOVEDIR ? "rmdir" : "unlink", at, path), -1)
CALL(int, rename, (const char *from, const char *to), (from, to),
     strike_two(DIRECTORY, "rename", AT_FDCWD, from, AT_FDCWD, to), -1)
CALL(int, renameat, (int at, const char *from, int to_at, const char *to), (at, from, to_at, to),
     strike_two(DIRECTORY, "rename", at, from, to_at, to), -1)
CALL(int, renameat2, (int at, const char *from, int to_at, const char *to, unsigned flags), (at, from, to_at, to, flags),
     strike_two(DIRECTORY, flags & 1 ? "rename-new" : "rename", at, from, to_at, to), -1)
CALL(int, link, (const char *from, const char *to), (from, to),
     strike_two(DIRECTORY, "link", AT_FDCWD, from, AT_FDCWD, to), -1)
CALL(int, linkat, (int at, const char *from, int to_at, const char *to, int flags), (at, from, to_at, to, flags),
     strike_two(DIRECTORY, "link", at, from, to_at, to), -1)
CALL(int, symlink, (const char *from, const char *to), (from, to), strike_at(DIRECTORY, "symlink", AT_FDCWD, to), -1)
CALL(int, symlinkat, (const char *from, int at, const char *to), (from, at, to),
     strike_at(DIRECTORY, "symlink", at, to), -1)

CALL(int, fsync, (int descriptor), (descriptor), strike_open(SYNC, "fsync", descriptor), -1)
CALL(int, fdatasync, (int descriptor), (descriptor), strike_open(SYNC, "fsync", descriptor), -1)

CALL(ssize_t, write, (int descriptor, const void *data, size_t size), (descriptor, data, size),
     strike_open(WRITE, "write", descriptor), -1)
CALL(ssize_t, pwrite, (int descriptor, const void *data, size_t size, off_t at), (descriptor, data, size, at),
     strike_open(WRITE, "write", descriptor), -1)
CALL(ssize_t, pwrite64, (int descriptor, const void *data, size_t size, off64_t at), (descriptor, data, size, at),
     strike_open(WRITE, "write", descriptor), -1)
CALL(ssize_t, writev, (int descriptor, const struct iovec *data, int count), (descriptor, data, count),
     strike_open(WRITE, "write", descriptor), -1)
CALL(ssize_t, sendfile, (int to, int from, off_t *at, size_t size), (to, from, at, size),
     strike_open(WRITE, "write", to), -1)
CALL(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t size), (to, from, at, size),
     strike_open(WRITE, "write", to), -1)
CALL(int, ftruncate, (int descriptor, off_t size), (descriptor, size), strike_open(WRITE, "truncate", descriptor), -1)
CALL(int, ftruncate64, (int descriptor, off64_t size), (descriptor, size),
     strike_open(WRITE, "truncate", descriptor), -1)
CALL(size_t, fwrite, (const void *data, size_t size, size_t count, FILE *file), (data, size, count, file),
     strike_open(WRITE, "write", fileno(file)), 0)
CALL(int, fflush, (FILE *file), (file), file ? strike_open(WRITE, "write", fileno(file)) : 0, EOF)

CALL(int, chmod, (const char *path, mode_t mode), (path, mode), strike_at(MODE, "chmod", AT_FDCWD, path), -1)
CALL(int, fchmod, (int descriptor, mode_t mode), (descriptor, mode), strike_open(MODE, "chmod", descriptor), -1)
CALL(int, fchmodat, (int at, const char *path, mode_t mode, int flags), (at, path, mode, flags),
     strike_at(MODE, "chmod", at, path), -1)

CALL(DIR *, opendir, (const char *path), (path), strike_at(READ, "opendir", AT_FDCWD, path), NULL)
CALL(DIR *, fdopendir, (int descriptor), (descriptor), strike_open(READ, "opendir", descriptor), NULL)
CALL(struct dirent *, readdir, (DIR *directory), (directory), strike_open(READ, "readdir", dirfd(directory)), NULL)
CALL(struct dirent64 *, readdir64, (DIR *directory), (directory), strike_open(READ, "readdir", dirfd(directory)), NULL)
CALL(ssize_t, read, (int descriptor, void *data, size_t size), (descriptor, data, size),
     strike_open(READ, "read", descriptor), -1)
CALL(ssize_t, pread, (int descriptor, void *data, size_t size, off_t at), (descriptor, data, size, at),
     strike_open(READ, "read", descriptor), -1)
CALL(ssize_t, pread64, (int descriptor, void *data, size_t size, off64_t at), (descriptor, data, size, at),
     strike_open(READ, "read", descriptor), -1)
CALL(int, stat, (const char *path, struct stat *status), (path, status), strike_at(READ, "stat", AT_FDCWD, path), -1)
CALL(int, stat64, (const char *path, struct stat64 *status), (path, status), strike_at(READ, "stat", AT_FDCWD, path), -1)
CALL(int, lstat, (const char *path, struct stat *status), (path, status), strike_at(READ, "stat", AT_FDCWD, path), -1)
CALL(int, lstat64, (const char *path, struct stat64 *status), (path, status),
     strike_at(READ, "stat", AT_FDCWD, path), -1)
CALL(int, fstatat, (int at, const char *path, struct stat *status, int flags), (at, path, status, flags),
     strike_at(READ, "stat", at, path), -1)
CALL(int, fstatat64, (int at, const char *path, struct stat64 *status, int flags), (at, path, status, flags),
     strike_at(READ, "stat", at, path), -1)
CALL(int, faccessat, (int at, const char *path, int mode, int flags), (at, path, mode, flags),
     strike_at(READ, "access", at, path), -1)
CALL(int, access, (const char *path, int mode), (path, mode), strike_at(READ, "access", AT_FDCWD, path), -1)
CALL(int, statvfs, (const char *path, struct statvfs *status), (path, status),
     strike_at(READ, "statvfs", AT_FDCWD, path), -1)
CALL(int, statvfs64, (const char *path, struct statvfs64 *status), (path, status),
     strike_at(READ, "statvfs", AT_FDCWD, path), -1)

static int creates(int flags) { return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE; }

#define OPEN(name, parameters, at, arguments)                                                        \
    int name parameters {                                                                            \
        static int (*real) parameters;                                                               \
        mode_t mode = 0;                                                                             \
        va_list list;                                                                                \
        if (!real)                                                                                   \
            real = (int (*) parameters)dlsym(RTLD_NEXT, #name);                                      \
        if (creates(flags)) {                                                                        \
            va_start(list, flags);                                                                   \
            mode = va_arg(list, mode_t);                                                             \
            va_end(list);                                                                            \
        }                                                                                            \
        FAIL(creates(flags) ? strike_at(DIRECTORY, "create", at, path) : strike_at(READ, "open", at, path), -1); \
        return real arguments;                                                                       \
    }

OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), at, (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), at, (at, path, flags, mode))

static int strike_file(const char *path, const char *mode) {
    return mode[0] == 'r' ? strike_at(READ, "open", AT_FDCWD, path) : strike_at(DIRECTORY, "create", AT_FDCWD, path);
}

CALL(FILE *, fopen, (const char *path, const char *mode), (path, mode), strike_file(path, mode), NULL)
CALL(FILE *, fopen64, (const char *path, const char *mode), (path, mode), strike_file(path, mode), NULL)

/* A file system on a network may report at last that it could not write. */
int close(int descriptor) {
    static int (*real)(int);
    int code = 0, flags;
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "close");
    if (state.armed) {
        flags = fcntl(descriptor, F_GETFL);
        if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY)
            code = strike_open(WRITE, "close", descriptor);
    }
    if (code) {
        real(descriptor);
        errno = code;
        return -1;
    }
    return real(descriptor);
}

/* A disk that fails: loaded before libc (LD_PRELOAD), it has the calls that FAULT names fail on files below a folder.
 *
 *   FAULT=CALLS:ERRNO:SKIP:FOLDER     calls joined by commas: open (to read), create (or open to write),
 *                                     write, read, sync, rename, mkdir, lock; the first SKIP
 *                                     calls on such files are spared; ERRNO 0: the folder is renamed then, once
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int seen;

static int fails(const char *call, const char *path) {
    const char *fault = getenv("FAULT");
    char calls[128], folder[PATH_MAX];
    int number, skip;
    if (!fault || !path || sscanf(fault, "%127[^:]:%d:%d:%4095[^\n]", calls, &number, &skip, folder) != 4) return 0;
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) || (path[length] != '/' && path[length])) return 0;
    char *rest = calls, *each;
    while ((each = strsep(&rest, ",")))
        if (!strcmp(each, call)) break;
    if (!each || __atomic_fetch_add(&seen, 1, __ATOMIC_SEQ_CST) < skip) return 0;
    if (number) {
        errno = number;
        return 1;
    }
    char gone[PATH_MAX + 8];
    snprintf(gone, sizeof gone, "%s.gone", folder);
    syscall(SYS_rename, folder, gone);
    return 0;
}

static int fails_open(const char *call, int descriptor) {
    char link[64], path[PATH_MAX] = "";
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    return length > 0 && fails(call, path);
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                                                         \
    int name(const char *path, int flags, ...) {                                                           \
        va_list rest;                                                                                      \
        va_start(rest, flags);                                                                             \
        mode_t mode = va_arg(rest, mode_t);                                                                \
        va_end(rest);                                                                                      \
        if (fails(flags & (O_WRONLY | O_RDWR | O_CREAT) ? "create" : "open", path)) return -1;             \
        return REAL(int, name, const char *, int, ...)(path, flags, mode);                                 \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                       \
    int name(int folder, const char *path, int flags, ...) {                                               \
        va_list rest;                                                                                      \
        va_start(rest, flags);                                                                             \
        mode_t mode = va_arg(rest, mode_t);                                                                \
        va_end(rest);                                                                                      \
        if (fails(flags & (O_WRONLY | O_RDWR | O_CREAT) ? "create" : "open", path)) return -1;             \
        return REAL(int, name, int, const char *, int, ...)(folder, path, flags, mode);                    \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    return fails_open("write", fd) ? -1 : REAL(ssize_t, write, int, const void *, size_t)(fd, data, size);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails_open("write", fd) ? -1 : REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)(fd, data, size, at);
}
ssize_t read(int fd, void *data, size_t size) {
    return fails_open("read", fd) ? -1 : REAL(ssize_t, read, int, void *, size_t)(fd, data, size);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    return fails_open("read", fd) ? -1 : REAL(ssize_t, pread64, int, void *, size_t, off64_t)(fd, data, size, at);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    return fails_open("read", fd) ? -1 : REAL(ssize_t, pread, int, void *, size_t, off_t)(fd, data, size, at);
}
int fsync(int fd) { return fails_open("sync", fd) ? -1 : REAL(int, fsync, int)(fd); }
int fdatasync(int fd) { return fails_open("sync", fd) ? -1 : REAL(int, fdatasync, int)(fd); }
int flock(int fd, int kind) { return fails_open("lock", fd) ? -1 : REAL(int, flock, int, int)(fd, kind); }
int rename(const char *from, const char *to) {
    return fails("rename", from) ? -1 : REAL(int, rename, const char *, const char *)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    return fails("rename", from) ? -1 : REAL(int, renameat, int, const char *, int, const char *)(a, from, b, to);
}
int mkdir(const char *path, mode_t mode) {
    return fails("mkdir", path) ? -1 : REAL(int, mkdir, const char *, mode_t)(path, mode);
}

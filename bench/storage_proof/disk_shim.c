/* Stands between a process and its file system: logs what happens to the files under one folder, and fails on demand.
 *
 * Preloaded (LD_PRELOAD). DISK_SHIM_ROOT is the absolute path of the folder; DISK_SHIM_LOG the log, left out when only
 * failures are wanted. Files whose name ends in "lock" or "lock.mdb" are left alone: nothing in them has to last. A file
 * called "acks" never fails: it is the test's own.
 *
 * The log is a sequence of records, a header and its payload, in the order in which the operations returned:
 *   C file created (payload path)        M folder made (path)             L link made (path NUL target)
 *   W bytes written (file, offset, data)  T file cut or grown (file, offset = size)
 *   S file flushed                        P range flushed (file, offset, payload = u64 length)
 *   F flush failed                        Y folder flushed (path)
 *   R renamed (path NUL path)             U removed (path)
 * `file` is the inode number. A write through O_DSYNC is W then P.
 *
 * disk_shim_arm(kinds, at, mode, error, lasting) makes the at-th operation of these kinds fail, once or from then on:
 * kinds 1 writes, 2 flushes; mode 0 nothing is done, 1 half of the bytes are written and the call is short, 2 everything
 * is done and the call fails. disk_shim_hits() tells how many failed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
#define WRITES 1
#define FLUSHES 2

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static char root[4096];
static size_t root_length;
static int log_fd = -1;
static struct { uint64_t file; char dsync, folder, exempt; char *path; } known[FDS];

static int armed_kinds, armed_at, armed_mode, armed_error, armed_lasting, hits;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("DISK_SHIM_ROOT"), *log = getenv("DISK_SHIM_LOG");
    if (!folder) return;
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    if (log && *log) log_fd = REAL(open64)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void record(char op, uint64_t file, uint64_t offset, const struct iovec *parts, int count) {
    struct __attribute__((packed)) { char op; uint64_t file, offset; uint32_t length; } header = {op, file, offset, 0};
    if (log_fd < 0) return;
    struct iovec all[1026] = {{&header, sizeof header}};
    for (int i = 0; i < count; i++) { header.length += parts[i].iov_len; all[i + 1] = parts[i]; }
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = REAL(writev);
    for (int at = 0; at < count + 1; at += 1024) real(log_fd, all + at, count + 1 - at < 1024 ? count + 1 - at : 1024);
}

static void record_text(char op, uint64_t file, const char *text, size_t length) {
    struct iovec part = {(void *)text, length};
    record(op, file, 0, &part, 1);
}

/* The absolute path, or 0 when it is not ours. */
static const char *ours(int folder, const char *path, char *space) {
    if (!root_length || !path) return 0;
    if (path[0] != '/') {
        char link[64], base[4096];
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
        snprintf(space, 8192, "%s/%s", base, path);
        path = space;
    }
    if (strncmp(path, root, root_length) || (path[root_length] != '/' && path[root_length])) return 0;
    size_t length = strlen(path);
    if (length >= 4 && !strcmp(path + length - 4, "lock")) return 0;
    if (length >= 8 && !strcmp(path + length - 8, "lock.mdb")) return 0;
    return path;
}

static uint64_t inode(const char *path) {
    struct stat64 status;
    return lstat64(path, &status) ? 0 : (uint64_t)status.st_ino;
}

static int opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FDS) return fd;
    struct stat64 status;
    if (fstat64(fd, &status)) return fd;
    pthread_mutex_lock(&guard);
    free(known[fd].path);
    known[fd].file = status.st_ino;
    known[fd].dsync = (flags & O_DSYNC) != 0;
    known[fd].folder = S_ISDIR(status.st_mode);
    known[fd].path = strdup(path);
    size_t length = strlen(path);
    known[fd].exempt = length >= 5 && !strcmp(path + length - 5, "/acks");
    if (!existed) record_text('C', status.st_ino, path, strlen(path));
    else if (flags & O_TRUNC) record('T', status.st_ino, 0, 0, 0);
    pthread_mutex_unlock(&guard);
    return fd;
}

#define OPEN_AT(name, folder, path, flags, mode) \
    char space[8192]; const char *mine = ours(folder, path, space); \
    int existed = mine ? !faccessat(AT_FDCWD, mine, F_OK, AT_SYMLINK_NOFOLLOW) : 1;

int open64(const char *path, int flags, ...) {
    va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
    OPEN_AT(open64, AT_FDCWD, path, flags, mode)
    int fd = REAL(open64)(path, flags, mode);
    return mine ? opened(fd, mine, flags, existed) : fd;
}
int open(const char *path, int flags, ...) {
    va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
    return open64(path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
    OPEN_AT(openat64, folder, path, flags, mode)
    int fd = REAL(openat64)(folder, path, flags, mode);
    return mine ? opened(fd, mine, flags, existed) : fd;
}
int openat(int folder, const char *path, int flags, ...) {
    va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
    return openat64(folder, path, flags, mode);
}
int close(int fd) {
    static int (*real)(int);
    if (!real) real = REAL(close);
    if (fd >= 0 && fd < FDS && known[fd].path) {
        pthread_mutex_lock(&guard);
        free(known[fd].path);
        memset(&known[fd], 0, sizeof known[fd]);
        pthread_mutex_unlock(&guard);
    }
    return real(fd);
}

static int is_known(int fd) { return fd >= 0 && fd < FDS && known[fd].path && !known[fd].folder; }

/* Whether this operation is the one that fails. With the guard held. */
static int fails(int fd, int kind) {
    if (!(armed_kinds & kind) || known[fd].exempt) return 0;
    if (--armed_at > 0) return 0;
    if (!armed_lasting) armed_kinds = 0;
    hits++;
    return 1;
}

static size_t length_of(const struct iovec *parts, int count) {
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    return length;
}

static ssize_t do_write(int fd, const struct iovec *parts, int count, off64_t offset, int positioned) {
    static ssize_t (*real_at)(int, const struct iovec *, int, off64_t);
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) { real = REAL(writev); real_at = REAL(pwritev64); }
    if (!is_known(fd)) return positioned ? real_at(fd, parts, count, offset) : real(fd, parts, count);
    pthread_mutex_lock(&guard);
    int failing = fails(fd, WRITES), error = armed_error, mode = armed_mode;
    ssize_t done;
    struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};
    if (!positioned) offset = lseek64(fd, 0, SEEK_CUR);
    if (failing && mode == 0) {
        done = -1;
    } else {
        if (failing && mode == 1) { parts = &half; count = 1; }
        done = positioned ? real_at(fd, parts, count, offset) : real(fd, parts, count);
        if (done == (ssize_t)length_of(parts, count)) {
            record('W', known[fd].file, offset, parts, count);
            uint64_t length = done;
            if (known[fd].dsync && failing && mode == 2) record('F', known[fd].file, 0, 0, 0);
            else if (known[fd].dsync) { struct iovec part = {&length, sizeof length}; record('P', known[fd].file, offset, &part, 1); }
        }
        if (failing && mode == 2) done = -1;
    }
    pthread_mutex_unlock(&guard);
    if (failing && done < 0) errno = error;
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = REAL(write);
    if (!is_known(fd)) return real(fd, bytes, length);
    struct iovec part = {(void *)bytes, length};
    return do_write(fd, &part, 1, 0, 0);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    struct iovec part = {(void *)bytes, length};
    return do_write(fd, &part, 1, offset, 1);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return do_write(fd, parts, count, 0, 0); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return do_write(fd, parts, count, offset, 1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return do_write(fd, parts, count, offset, 1); }

static int flush(int fd, int (*real)(int)) {
    if (fd < 0 || fd >= FDS || !known[fd].path) return real(fd);
    pthread_mutex_lock(&guard);
    int failing = fails(fd, FLUSHES), error = armed_error;
    int done = failing && armed_mode == 0 ? -1 : real(fd);
    if (failing) done = -1;
    if (known[fd].folder) { if (!done) record_text('Y', known[fd].file, known[fd].path, strlen(known[fd].path)); }
    else record(done ? 'F' : 'S', known[fd].file, 0, 0, 0);
    pthread_mutex_unlock(&guard);
    if (failing) errno = error;
    return done;
}
int fdatasync(int fd) { return flush(fd, REAL(fdatasync)); }
int fsync(int fd) { return flush(fd, REAL(fsync)); }

int ftruncate64(int fd, off64_t size) {
    int done = REAL(ftruncate64)(fd, size);
    if (!done && is_known(fd)) { pthread_mutex_lock(&guard); record('T', known[fd].file, size, 0, 0); pthread_mutex_unlock(&guard); }
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static void grown(int fd, int done, off64_t end) {
    struct stat64 status;
    if (done || !is_known(fd) || fstat64(fd, &status) || status.st_size != end) return;
    pthread_mutex_lock(&guard);
    record('T', known[fd].file, end, 0, 0);
    pthread_mutex_unlock(&guard);
}
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    int done = REAL(posix_fallocate64)(fd, offset, length);
    grown(fd, done, offset + length);
    return done;
}
int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    int done = REAL(fallocate64)(fd, mode, offset, length);
    grown(fd, done, offset + length);
    return done;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

static void record_two(char op, uint64_t file, const char *one, const char *two) {
    char both[16400];
    size_t length = strlen(one) + 1;
    memcpy(both, one, length);
    strcpy(both + length, two);
    record_text(op, file, both, length + strlen(two));
}
#define LOGGED(statement) do { pthread_mutex_lock(&guard); statement; pthread_mutex_unlock(&guard); } while (0)

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    char space1[8192], space2[8192];
    const char *one = ours(from_folder, from, space1), *two = ours(to_folder, to, space2);
    int done = REAL(renameat)(from_folder, from, to_folder, to);
    if (!done && one && two) LOGGED(record_two('R', 0, one, two));
    return done;
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }
int unlinkat(int folder, const char *path, int flags) {
    char space[8192]; const char *mine = ours(folder, path, space);
    int done = REAL(unlinkat)(folder, path, flags);
    if (!done && mine) LOGGED(record_text('U', 0, mine, strlen(mine)));
    return done;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdirat(int folder, const char *path, mode_t mode) {
    char space[8192]; const char *mine = ours(folder, path, space);
    int done = REAL(mkdirat)(folder, path, mode);
    if (!done && mine) LOGGED(record_text('M', inode(mine), mine, strlen(mine)));
    return done;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
int symlinkat(const char *target, int folder, const char *path) {
    char space[8192]; const char *mine = ours(folder, path, space);
    int done = REAL(symlinkat)(target, folder, path);
    if (!done && mine) LOGGED(record_two('L', inode(mine), mine, target));
    return done;
}
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

void disk_shim_arm(int kinds, int at, int mode, int error, int lasting) {
    pthread_mutex_lock(&guard);
    armed_kinds = kinds; armed_at = at; armed_mode = mode; armed_error = error; armed_lasting = lasting;
    hits = 0;
    pthread_mutex_unlock(&guard);
}
int disk_shim_hits(void) { return hits; }

/* Loaded before libc: lets a test choose what the next sync or write of a file does to its process.
 *
 * SQLite makes a commit durable by one sync of its write-ahead log, so that call is the middle of
 * a commit: everything is written, and nothing is promised yet. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { FAULT_NONE, FAULT_KILL_BEFORE_SYNC, FAULT_KILL_AFTER_SYNC, FAULT_SYNC_FAILS,
       FAULT_KILL_BEFORE_WRITE };

static int fault = FAULT_NONE;

void disk_fault_arm(int which) { fault = which; }

static int sync_with_fault(const char *name, int file) {
    int which = fault;
    fault = FAULT_NONE;
    if (which == FAULT_KILL_BEFORE_SYNC) raise(SIGKILL);
    if (which == FAULT_SYNC_FAILS) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int outcome = real(file);
    if (which == FAULT_KILL_AFTER_SYNC) raise(SIGKILL);
    return outcome;
}

int fdatasync(int file) { return sync_with_fault("fdatasync", file); }
int fsync(int file) { return sync_with_fault("fsync", file); }

static ssize_t write_with_fault(const char *name, int file, const void *data, size_t size,
                                off_t at) {
    if (fault == FAULT_KILL_BEFORE_WRITE) raise(SIGKILL);
    ssize_t (*real)(int, const void *, size_t, off_t) =
        (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, name);
    return real(file, data, size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    return write_with_fault("pwrite", file, data, size, at);
}
ssize_t pwrite64(int file, const void *data, size_t size, off_t at) {
    return write_with_fault("pwrite64", file, data, size, at);
}

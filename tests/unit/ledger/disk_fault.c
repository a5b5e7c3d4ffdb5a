/* Loaded before libc: lets a test choose what the next sync of a file does to its process.
 *
 * SQLite makes a commit durable by one sync of its write-ahead log, so that call is the middle of
 * a commit: everything is written, and nothing is promised yet. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { FAULT_NONE, FAULT_KILL_BEFORE_SYNC, FAULT_KILL_AFTER_SYNC, FAULT_SYNC_FAILS };

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

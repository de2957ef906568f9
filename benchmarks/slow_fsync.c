/* For LD_PRELOAD: each fsync and fdatasync takes SLOW_FSYNC_US microseconds longer, as on the disk of a cloud. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int (*sync_function)(int);

static int sync_slowly(const char *name, int descriptor)
{
    const char *text = getenv("SLOW_FSYNC_US");
    long microseconds = text ? atol(text) : 0;
    struct timespec rest = {microseconds / 1000000, microseconds % 1000000 * 1000};

    /* A signal may end the sleep early; rest receives the remaining time. */
    while (nanosleep(&rest, &rest) != 0)
        ;
    return ((sync_function)dlsym(RTLD_NEXT, name))(descriptor);
}

int fsync(int descriptor)
{
    return sync_slowly("fsync", descriptor);
}

int fdatasync(int descriptor)
{
    return sync_slowly("fdatasync", descriptor);
}

/* How many processors this process may use: more threads than a quota allows are put to sleep in the middle of a loop.
 *
 * Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (version 1: cpu.cfs_quota_us), a limit may
 * stand at any level above the process, so all are asked; admin-guide/cputopology.rst (thread_siblings_list). */
#include "pool.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_PATH = 1024 };

/* The begin of a file as a string; false if there is none. */
static bool read_text(const char *path, char *text, size_t capacity) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) return false;
    ssize_t n = read(fd, text, capacity - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static int32_t processors(long long quota, long long period) {
    if (quota <= 0 || period <= 0) return 0;
    return quota < period ? 1 : quota / period > INT32_MAX ? 0 : (int32_t)(quota / period);
}

/* The limit at one directory; 0: none. */
static int32_t limit_at(const char *dir, bool v2) {
    char path[MAX_PATH + 32], text[64];
    long long quota = 0, period = 0;
    snprintf(path, sizeof path, v2 ? "%s/cpu.max" : "%s/cpu.cfs_quota_us", dir);
    if (!read_text(path, text, sizeof text)) return 0;
    if (v2) return sscanf(text, "%lld %lld", &quota, &period) == 2 ? processors(quota, period) : 0;
    if (sscanf(text, "%lld", &quota) != 1) return 0; /* -1: none */
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
    if (!read_text(path, text, sizeof text) || sscanf(text, "%lld", &period) != 1) return 0;
    return processors(quota, period);
}

/* The lowest limit from the group at `path` up to the mount. */
static int32_t limit_above(const char *mount, const char *path, bool v2) {
    char dir[MAX_PATH];
    int32_t least = 0;
    int n = snprintf(dir, sizeof dir, "%s%s", mount, path);
    if (n < 0 || (size_t)n >= sizeof dir) return 0;
    for (size_t root = strlen(mount), len = (size_t)n;; len--) {
        dir[len] = '\0';
        int32_t limit = limit_at(dir, v2);
        if (limit > 0 && (least == 0 || limit < least)) least = limit;
        while (len > root && dir[len - 1] != '/') len--;
        if (len <= root) return least;
    }
}

/* Is "cpu" one of the names between commas? */
static bool has_cpu(const char *names) {
    for (; *names; names += *names == ',') {
        size_t n = strcspn(names, ",");
        if (n == 3 && memcmp(names, "cpu", 3) == 0) return true;
        names += n;
    }
    return false;
}

int32_t slm__cgroup_quota(const char *groups, const char *root) {
    char text[4096], *rest = NULL;
    int32_t least = 0;
    if (!read_text(groups, text, sizeof text)) return 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue; /* "number:names:path", no names in version 2 */
        *path++ = '\0';
        names++;
        char mount[MAX_PATH];
        bool v2 = *names == '\0';
        if (!v2 && !has_cpu(names)) continue;
        snprintf(mount, sizeof mount, "%s%s", root, v2 ? "" : "/cpu");
        /* in a container the path is that of the host, and what is mounted is the group itself */
        int32_t found[] = {limit_above(mount, path, v2), limit_above(mount, "", v2)};
        for (int i = 0; i < 2; i++)
            if (found[i] > 0 && (least == 0 || found[i] < least)) least = found[i];
    }
    return least;
}

/* Is `cpu` the first of those that share its core? `list` as Linux writes it: "0,64" or "0-1,8". */
static bool first_of_core(const char *list, int32_t cpu, const uint8_t *allowed, int32_t n) {
    long first, last;
    for (const char *p = list; *p; p += *p == ',') {
        char *end;
        first = last = strtol(p, &end, 10);
        if (end == p) return true; /* no list: a core of its own */
        if (*end == '-') last = strtol(end + 1, &end, 10);
        for (long i = first; i >= 0 && i <= last && i < n; i++)
            if (allowed[i]) return i == cpu;
        p = end;
        if (*p != ',') return true;
    }
    return true;
}

int32_t slm__physical_cores(const uint8_t *allowed, int32_t n, const char *root) {
    int32_t cores = 0;
    for (int32_t cpu = 0; cpu < n; cpu++) {
        char path[MAX_PATH], list[1024];
        if (!allowed[cpu]) continue;
        snprintf(path, sizeof path, "%s/cpu%d/topology/thread_siblings_list", root, cpu);
        cores += !read_text(path, list, sizeof list) || first_of_core(list, cpu, allowed, n);
    }
    return cores;
}

/* Of those that this process may use, `cores` or all processors. */
static int32_t usable(bool cores) {
    cpu_set_t set;
    uint8_t allowed[CPU_SETSIZE];
    int32_t n = 0;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int i = 0; i < CPU_SETSIZE; i++) n += allowed[i] = CPU_ISSET(i, &set) != 0;
        if (cores) n = slm__physical_cores(allowed, CPU_SETSIZE, "/sys/devices/system/cpu");
    } else { /* a machine with more than CPU_SETSIZE processors */
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        n = online > 0 && online < INT32_MAX ? (int32_t)online : 1;
    }
    int32_t quota = slm__cgroup_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    if (quota > 0 && quota < n) n = quota;
    return n < 1 ? 1 : n;
}

/* Threads that share a core share its units for products: a second one adds little to the first and takes its cache. */
int32_t slm__default_threads(int32_t max) {
    int32_t n = usable(true);
    return n > max ? max : n;
}

int32_t slm__processors(void) { return usable(false); }

/* Faults of the machine, put under a program with LD_PRELOAD, so that the program itself is the one that is shipped.
 *
 * RIG_FAULT="<call> <target> <when> <nth> <errno> <times>": a disk or a moment that goes wrong.
 *   call    write, sync, rename, send or recv; disk: any of the first three
 *   target  end of a file's path, as "-wal"; "in:" and a part of it; or "port:1883" of the peer of a socket
 *   when    before or after the call
 *   nth     which matching call, from 1
 *   errno   what the call fails with instead of being made; 0: the process is killed; -1: the call hangs until it is
 *   times   how many calls, from the nth on; 0: all of them
 *   ENOSPC concerns only writes that make a file longer, as on a full disk.
 * RIG_GATE=<file>: calls count only while the file exists.
 * RIG_FROM="<call> <target> <nth>": and only after the nth of these.
 * RIG_FIRED=<file>: made when the fault happens for the first time.
 * RIG_CALLS=<file>: a line is appended to it for every call on a file that counts for the target, "<call> <path>".
 * RIG_CLOCK=<file>: two int64: nanoseconds added to the wall clock, and how many readings of it (below 0: all).
 *   The clock is turned inside the vDSO, because programs may read it there without asking the C library.
 * RIG_SYNCED=<file>: stands for the file by which systemd-timesyncd says that it has set the clock. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static struct {
    char call[16], target[128], when[16];
    long nth, times;
    int error;
    const char *gate, *fired, *list;
} rule;
static struct {
    char call[16], target[128];
    long nth;
} from;
static atomic_long calls, before_it;

static int64_t (*turned)[2];
static const char *synced;

/* --- which calls --- */

/* Path of an open file, or of a name in an open folder. */
static const char *path_of(int fd, const char *name, char *path, size_t size) {
    char link[64] = "/proc/self/cwd";
    if (name && name[0] == '/')
        return snprintf(path, size, "%s", name), path;
    if (fd != AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
    if (name)
        snprintf(path + strlen(path), size - strlen(path), "/%s", name);
    return path;
}

static int concerns(const char *wanted, const char *target, const char *call, const char *path) {
    int on_disk = strcmp(call, "send") != 0 && strcmp(call, "recv") != 0;
    if (strcmp(wanted, call) != 0 && !(on_disk && strcmp(wanted, "disk") == 0))
        return 0;
    if (strncmp(target, "in:", 3) == 0)
        return strstr(path, target + 3) != NULL;
    size_t length = strlen(path), end = strlen(target);
    return length >= end && strcmp(path + length - end, target) == 0;
}

static void append(const char *list, const char *call, const char *path) {
    char line[4352];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    int fd = open(list, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    syscall(SYS_write, fd, line, length);
    close(fd);
}

static int matches(const char *call, int fd, const char *name) {
    if (rule.nth == 0 || (rule.gate && access(rule.gate, F_OK) != 0))
        return 0;
    if (strncmp(rule.target, "port:", 5) == 0) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        return strcmp(call, rule.call) == 0 && getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
               peer.sin_family == AF_INET && ntohs(peer.sin_port) == atoi(rule.target + 5);
    }
    char path[4096];
    path_of(fd, name, path, sizeof path);
    if (from.nth > atomic_load(&before_it)) {
        if (concerns(from.call, from.target, call, path))
            atomic_fetch_add(&before_it, 1);
        return 0;
    }
    if (!concerns(rule.call, rule.target, call, path))
        return 0;
    if (rule.list)
        append(rule.list, call, path);
    return 1;
}

static int lengthens(int fd, off_t end) {
    struct stat file;
    return fstat(fd, &file) == 0 && end > file.st_size;
}

/* Whether the fault falls on this call. */
static int falls(const char *call, int fd, const char *name, off_t end) {
    if (!matches(call, fd, name))
        return 0;
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (number < rule.nth || (rule.times != 0 && number >= rule.nth + rule.times))
        return 0;
    return rule.error != ENOSPC || lengthens(fd, end);
}

static void fire(void) {
    if (rule.fired)
        close(open(rule.fired, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    if (rule.error == 0)
        kill(getpid(), SIGKILL);
    while (rule.error < 0)
        pause();
}

static int before(void) { return rule.when[0] == 'b'; }

/* Makes the call, or lets the fault happen. */
#define AROUND(name, fd, end, made)                                                                                    \
    do {                                                                                                               \
        if (!falls(name, fd, NULL, end))                                                                                  \
            return made;                                                                                               \
        if (before()) {                                                                                                \
            fire();                                                                                                    \
            errno = rule.error;                                                                                        \
            return -1;                                                                                                 \
        }                                                                                                              \
        __typeof__(made) result = made;                                                                                \
        fire();                                                                                                        \
        return result;                                                                                                 \
    } while (0)

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static const char *writing(int fd) {
    struct stat file;
    return fstat(fd, &file) == 0 && S_ISSOCK(file.st_mode) ? "send" : "write";
}

ssize_t write(int fd, const void *bytes, size_t length) {
    AROUND(writing(fd), fd, lseek(fd, 0, SEEK_CUR) + (off_t)length, REAL(write)(fd, bytes, length));
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    AROUND("write", fd, at + (off_t)length, REAL(pwrite64)(fd, bytes, length, at));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    AROUND(writing(fd), fd, 0, REAL(writev)(fd, parts, count));
}
ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    AROUND("send", fd, 0, REAL(send)(fd, bytes, length, flags));
}
ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    AROUND("recv", fd, 0, REAL(recv)(fd, bytes, length, flags));
}

/* --- renames and syncs: not every program asks the C library for them --- */

/* In the sixth argument, which none of them has: the call is ours. */
#define OURS 0x7169

#if defined(__x86_64__)
#define ARGUMENT(n) ((long)machine->gregs[(int[]){REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8}[n]])
#define RESULT machine->gregs[REG_RAX]
#elif defined(__aarch64__)
#define ARGUMENT(n) ((long)machine->regs[n])
#define RESULT machine->regs[0]
#endif

/* The kernel has not made this call: makes it, or lets the fault happen. */
static void trapped(int signal, siginfo_t *info, void *context) {
    (void)signal;
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    int number = info->si_syscall, sync = number == SYS_fsync || number == SYS_fdatasync;
    int fd = AT_FDCWD, saved = errno;
    const char *name = NULL;
    if (sync) {
        fd = (int)ARGUMENT(0);
#ifdef SYS_rename
    } else if (number == SYS_rename) {
        name = (const char *)ARGUMENT(1);
#endif
    } else {
        fd = (int)ARGUMENT(2);
        name = (const char *)ARGUMENT(3);
    }
    int hit = falls(sync ? "sync" : "rename", fd, name, 0);
    if (hit && before()) {
        fire();
        RESULT = -rule.error;
    } else {
        long made = syscall(number, ARGUMENT(0), ARGUMENT(1), ARGUMENT(2), ARGUMENT(3), ARGUMENT(4), OURS);
        RESULT = made < 0 ? -errno : made;
        if (hit)
            fire();
    }
    errno = saved;
}

static void trap_calls(void) {
    static struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat, 2, 0),
#ifdef SYS_rename
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rename, 1, 0),
#else
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat, 1, 0),
#endif
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OURS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER};
    if (sigaction(SIGSYS, &action, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        fprintf(stderr, "calls cannot be trapped\n");
        _exit(70);
    }
}

/* --- the wall clock --- */

static int turned_clock(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return result;
    if ((*turned)[1] == 0)
        return 0;
    if ((*turned)[1] > 0)
        __atomic_fetch_sub(&(*turned)[1], 1, __ATOMIC_SEQ_CST);
    int64_t now = time->tv_sec * 1000000000LL + time->tv_nsec + (*turned)[0];
    time->tv_sec = now / 1000000000LL;
    time->tv_nsec = now % 1000000000LL;
    if (time->tv_nsec < 0) {
        time->tv_sec -= 1;
        time->tv_nsec += 1000000000LL;
    }
    return 0;
}

/* By another name here, because the C library swears that no path is null, and programs ask with one whether there is such
 * a call. */
int stat_of(int folder, const char *path, int flags, unsigned mask, void *found) __asm__("statx");
int stat_of(int folder, const char *path, int flags, unsigned mask, void *found) {
    if (synced && path && strcmp(path, "/run/systemd/timesync/synchronized") == 0)
        path = synced;
    return (int)syscall(SYS_statx, folder, path, flags, mask, found);
}

/* Address of a function of the vDSO. Its symbols lie before its strings. */
static unsigned char *in_vdso(const char *name) {
    unsigned char *base = (unsigned char *)getauxval(AT_SYSINFO_EHDR);
    if (!base)
        return NULL;
    Elf64_Ehdr *head = (Elf64_Ehdr *)base;
    Elf64_Phdr *part = (Elf64_Phdr *)(base + head->e_phoff);
    Elf64_Dyn *dynamic = NULL;
    for (int i = 0; i < head->e_phnum; i++)
        if (part[i].p_type == PT_DYNAMIC)
            dynamic = (Elf64_Dyn *)(base + part[i].p_offset);
    Elf64_Sym *symbols = NULL;
    char *strings = NULL;
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB)
            symbols = (Elf64_Sym *)(base + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_STRTAB)
            strings = (char *)(base + dynamic->d_un.d_ptr);
    }
    for (Elf64_Sym *symbol = symbols; symbol && (char *)symbol < strings; symbol++)
        if (strcmp(strings + symbol->st_name, name) == 0)
            return base + symbol->st_value;
    return NULL;
}

/* Overwrites the beginning of a function with a jump. */
static int detour(unsigned char *from, void *to) {
#if defined(__x86_64__)
    unsigned char jump[12] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0}; /* mov to, %rax; jmp *%rax */
    memcpy(jump + 2, &to, 8);
#elif defined(__aarch64__)
    unsigned char jump[16] = {0x50, 0, 0, 0x58, 0, 0x02, 0x1f, 0xd6}; /* ldr x16, to; br x16 */
    memcpy(jump + 8, &to, 8);
#else
#error "no detour for this processor"
#endif
    uintptr_t page = (uintptr_t)from & ~4095UL;
    if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0 &&
        mprotect((void *)page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        return -1;
    memcpy(from, jump, sizeof jump);
    __builtin___clear_cache((char *)from, (char *)from + sizeof jump);
    return 0;
}

static void turn_clock(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *shared = mmap(NULL, sizeof *turned, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    unsigned char *clock = in_vdso("__vdso_clock_gettime");
    if (!clock)
        clock = in_vdso("__kernel_clock_gettime");
    turned = shared;
    if (shared == MAP_FAILED || !clock || detour(clock, (void *)turned_clock) != 0) {
        fprintf(stderr, "the clock cannot be turned\n");
        _exit(70);
    }
}

/* --- set-up --- */

__attribute__((constructor)) static void set_up(void) {
    const char *text = getenv("RIG_FAULT"), *clock = getenv("RIG_CLOCK"), *start = getenv("RIG_FROM");
    rule.gate = getenv("RIG_GATE");
    rule.fired = getenv("RIG_FIRED");
    rule.list = getenv("RIG_CALLS");
    synced = getenv("RIG_SYNCED");
    if (clock)
        turn_clock(clock);
    if (text && sscanf(text, "%15s %127s %15s %ld %d %ld", rule.call, rule.target, rule.when, &rule.nth, &rule.error,
                       &rule.times) != 6) {
        fprintf(stderr, "malformed RIG_FAULT: %s\n", text);
        _exit(70);
    }
    if (start && sscanf(start, "%15s %127s %ld", from.call, from.target, &from.nth) != 3) {
        fprintf(stderr, "malformed RIG_FROM: %s\n", start);
        _exit(70);
    }
    if (strcmp(rule.call, "sync") == 0 || strcmp(rule.call, "rename") == 0 || strcmp(rule.call, "disk") == 0)
        trap_calls();
}

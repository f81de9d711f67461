//! The system calls that a sealed process may still make, each with its reason.

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Allows those, for all threads, and refuses all others with `EPERM`.
///
/// # Errors
/// When the kernel has no seccomp.
pub(super) fn allow() -> Result<(), String> {
    let apply = || -> Result<(), Error> {
        let filter = SeccompFilter::new(
            list()?.into_iter().collect(),
            SeccompAction::Errno(libc::EPERM.cast_unsigned()),
            SeccompAction::Allow,
            TargetArch::try_from(std::env::consts::ARCH)?,
        );
        let program = BpfProgram::try_from(filter?)?;
        seccompiler::apply_filter_all_threads(&program)
    };
    apply().map_err(|error| error.to_string())
}

type Rules = Vec<(i64, Vec<SeccompRule>)>;

fn list() -> Result<Rules, Error> {
    // The streams that are open: messages of the gateway and answers.
    let mut calls = vec![
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_recvfrom,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_sendto,
        libc::SYS_shutdown,
        libc::SYS_close,
    ];
    // To wait for them, and the ticker for its time.
    calls.extend([
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_futex,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_restart_syscall,
        libc::SYS_sched_yield,
    ]);
    // Memory of guests; of which nothing may become code, see below.
    calls.extend([
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
    ]);
    // Where the kernel has no faster way to the time, and for how long a call took.
    calls.extend([
        libc::SYS_clock_gettime,
        libc::SYS_clock_getres,
        libc::SYS_gettimeofday,
    ]);
    // Random numbers for guests and hash maps.
    calls.push(libc::SYS_getrandom);
    // A trap of a guest is a signal; an end with a reason is one as well.
    calls.extend([
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ]);
    #[cfg(target_arch = "x86_64")]
    calls.extend([libc::SYS_epoll_wait, libc::SYS_poll]);
    let mut rules: Rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    // Memory that is not executable: their third argument says what it is.
    let executable = u64::from(libc::PROT_EXEC.cast_unsigned());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.push((call, vec![rule(2, SeccompCmpOp::MaskedEq(executable), 0)?]));
    }
    // Whether a file is open, which std asks before it closes one in a test build.
    let whether_open = u64::from(libc::F_GETFD.cast_unsigned());
    rules.push((
        libc::SYS_fcntl,
        vec![rule(1, SeccompCmpOp::Eq, whether_open)?],
    ));
    // A signal to a thread of this process only: `abort` sends one.
    let own = u64::from(std::process::id());
    rules.push((libc::SYS_tgkill, vec![rule(0, SeccompCmpOp::Eq, own)?]));
    Ok(rules)
}

fn rule(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

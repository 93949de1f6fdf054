/**
 * The system calls that Docker's default seccomp profile lets through, as data. Whatever is not named answers EPERM. io_uring is left out
 * on purpose: it reaches the kernel around every other rule.
 */
export type SeccompGroup = {
  /** Only when the container has this capability. */
  capability?: string;
  /** Only when it has not. */
  withoutCapability?: string;
  /** Only on these machines, as in `process.arch`. */
  machines?: readonly string[];
  names: string;
  /** Each of these forms of the first argument passes; without them every form does. */
  firstArgument?: readonly FirstArgument[];
  /** Answer this errno instead of letting it through. */
  errno?: number;
};

export type FirstArgument =
  | { op: 'SCMP_CMP_EQ' | 'SCMP_CMP_NE'; value: number }
  | { op: 'SCMP_CMP_MASKED_EQ'; mask: number; value: number };

const ENOSYS = 38;
const AF_VSOCK = 40;
/** CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET. */
const newNamespaces = 0x7e02_0000;

/** Allowed always. */
const always = `
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime clock_adjtime64
clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect
copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr
fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait
futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid
geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr
getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr
lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat
mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll
ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile
sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid
setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack
signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat
sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill
truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4
waitid waitpid write writev`;

export const defaultGroups: readonly SeccompGroup[] = [
  { names: always },
  // Safe since Linux 4.8, when ptrace stopped to slip past seccomp; older kernels do not run the engine.
  { names: 'process_vm_readv process_vm_writev ptrace' },
  { names: 'socket', firstArgument: [{ op: 'SCMP_CMP_NE', value: AF_VSOCK }] },
  {
    names: 'personality',
    firstArgument: [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff].map((value) => ({ op: 'SCMP_CMP_EQ', value }) as const),
  },
  { machines: ['arm', 'arm64'], names: 'arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls' },
  { machines: ['x64'], names: 'arch_prctl modify_ldt' },
  { capability: 'CAP_DAC_READ_SEARCH', names: 'open_by_handle_at' },
  {
    capability: 'CAP_SYS_ADMIN',
    names: `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount
mount_setattr move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2
unshare`,
  },
  {
    withoutCapability: 'CAP_SYS_ADMIN',
    names: 'clone',
    firstArgument: [{ op: 'SCMP_CMP_MASKED_EQ', mask: newNamespaces, value: 0 }],
  },
  // clone3 passes its flags in memory, which seccomp cannot read. With ENOSYS the C library falls back to clone.
  { withoutCapability: 'CAP_SYS_ADMIN', names: 'clone3', errno: ENOSYS },
  { capability: 'CAP_SYS_BOOT', names: 'reboot' },
  { capability: 'CAP_SYS_CHROOT', names: 'chroot' },
  { capability: 'CAP_SYS_MODULE', names: 'delete_module finit_module init_module' },
  { capability: 'CAP_SYS_PACCT', names: 'acct' },
  { capability: 'CAP_SYS_PTRACE', names: 'kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace' },
  { capability: 'CAP_SYS_RAWIO', names: 'ioperm iopl' },
  { capability: 'CAP_SYS_TIME', names: 'clock_settime clock_settime64 settimeofday stime' },
  { capability: 'CAP_SYS_TTY_CONFIG', names: 'vhangup' },
  { capability: 'CAP_SYS_NICE', names: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node' },
  { capability: 'CAP_SYSLOG', names: 'syslog' },
  { capability: 'CAP_BPF', names: 'bpf' },
  { capability: 'CAP_PERFMON', names: 'perf_event_open' },
];

//! The only unsafe code of osmoda: what no safe binding offers.
//!
//! [`spawn`] makes a child with the speed of vfork and [`child`] is all that runs in it until
//! its program does; [`exit_info`] asks the kernel how a process ended that was not our child;
//! [`watch`] has tokio wait for a pidfd; [`receive`] takes datagrams with their senders;
//! [`heap`] says how the process allocates and gives memory back; [`features`] tries what an older kernel does not have; [`inherited`] takes over descriptors that
//! are known by number.
//! Each block says why it is sound. Everything above this module is safe code.

#![allow(
    unsafe_code,
    reason = "clone(2), the life of a child before its exec, an ioctl, AsyncFd, SCM_PIDFD, inherited descriptors and the allocator have no safe form"
)]

mod child;
pub(super) mod exit_info;
pub(super) mod features;
pub mod heap;
pub mod inherited;
pub mod receive;
pub(crate) mod spawn;
pub(super) mod watch;

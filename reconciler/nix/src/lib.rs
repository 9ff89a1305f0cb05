//! Nix for osmoda: evaluation of specs, store paths, profiles, bundles, store checks, switching
//! the system.
//!
//! All but [`system`] is blocking code with bounded time; the daemon calls it from a blocking
//! thread.
//!
//! Where to start: [`eval::evaluate_specs`] turns `specs/*.nix` into trees,
//! [`profiles::Profiles`] is what the reconcile loop uses to keep and switch generations;
//! [`profile`], [`bundle`] and [`store`] are what it is made of. [`system::SystemSwitcher`] is the
//! same for the whole machine.

pub mod bundle;
pub mod eval;
mod expression;
mod hash;
mod process;
pub mod profile;
pub mod profiles;
pub mod stamp;
pub mod store;
pub mod store_path;
pub mod system;

//! The native runtime passes the whole suite on a host without cgroups, too.

mod common;

use common::Native;
use osmoda_runtime::native::Cgroups;
use osmoda_testkit::runtime_conformance;

runtime_conformance!(any, probes, real, real_probes; [tokio::test]; Native::new(Cgroups::Off));

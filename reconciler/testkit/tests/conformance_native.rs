//! The native runtime passes the whole suite with the host's cgroups, where there are any.

mod common;

use common::Native;
use osmoda_runtime::native::Cgroups;
use osmoda_testkit::runtime_conformance;

runtime_conformance!(any, probes, real, real_probes; [tokio::test]; Native::new(Cgroups::Auto));

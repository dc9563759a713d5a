//! `steal`: the thief on the command line.

use std::sync::Arc;

use kinline_protocol::server_name::RelayAddress;
use kinline_thief::{Canaries, LiveCheck, Options, steal};

use super::args::StealArgs;
use super::failure::Failure;
use crate::connection::{BlobClient, client_config};

/// `steal`
pub(super) fn run(arguments: &StealArgs) -> Result<(), Failure> {
    let canaries = Canaries::from_file(&arguments.canaries)
        .map_err(|error| Failure::new(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(error.to_string()))?;
    let mut options = Options {
        // Where a relay on this machine listens is no secret of anybody's, and its first line
        // says it. Every other address counts.
        addresses_allowed: vec!["127.0.0.1".to_owned(), "::1".to_owned()],
        server_names: arguments.server_name.clone(),
        ..Options::default()
    };
    if let Some(relay) = &arguments.live {
        options.server_names.push(relay.server_name());
        options
            .live_checks
            .push(live_check(relay, runtime.handle().clone())?);
    }
    let report = steal(&arguments.data, &canaries, &options)
        .map_err(|error| Failure::new(error.to_string()))?;
    println!("{report}");
    if let Some(path) = &arguments.report {
        let json =
            serde_json::to_vec_pretty(&report).map_err(|error| Failure::new(error.to_string()))?;
        std::fs::write(path, json).map_err(|error| Failure::file(path, &error))?;
    }
    if report.ok() {
        Ok(())
    } else {
        Err(Failure::broken_promise("the loot shows something"))
    }
}

/// Tries stolen bytes as a blob's secret on a relay that runs.
fn live_check(relay: &RelayAddress, runtime: tokio::runtime::Handle) -> Result<LiveCheck, Failure> {
    let tls = client_config(relay).map_err(|error| Failure::new(error.to_string()))?;
    // A relay that is not there refuses everything, which would show nothing.
    runtime.block_on(crate::connection::connect(relay, &tls))?;
    let client = BlobClient::new(relay.clone(), tls);
    Ok(Arc::new(move |stolen: &[u8]| {
        let Ok(secret) = <&[u8; 32]>::try_from(stolen) else {
            return false;
        };
        // A check that fails counts as accepted: better a false alarm than a missed leak.
        runtime.block_on(client.accepts(secret)).unwrap_or(true)
    }))
}

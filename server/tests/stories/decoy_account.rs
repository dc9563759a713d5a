//! Decoy accounts: the vaults that they are given, and that nothing in the table tells them apart.

use std::collections::BTreeSet;
use std::process::Output;

use kinline_protocol::account::is_part_size;
use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::opaque::Names;
use kinline_protocol::primitives::opaque::device::Registration;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::primitives::stretching::Stretching;
use kinline_protocol::{padme, wire};
use kinline_server::measure::Logins;
use rand::RngExt as _;

use super::tripwire::{features, told_apart};
use crate::harness::{Here, Parent, cheap, fetch, noise, run, vault};

/// `decoys`, for these accounts.
fn mark(here: &Here, accounts: &[AccountId], more: &[&str]) -> Output {
    let ids: Vec<String> = accounts
        .iter()
        .map(|id| hex::encode(id.as_bytes()))
        .collect();
    let mut args = vec!["decoys"];
    for id in &ids {
        args.extend(["--account", id]);
    }
    args.extend(more);
    run(&args, here.folder.path(), &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decoy_gets_a_vault_of_noise_and_nobody_elses_is_replaced_unasked() {
    let here = Here::start_with(cheap).await;
    let (mut bait, mut real) = (Parent::random("bait"), Parent::random("real"));
    for parent in [&mut bait, &mut real] {
        let mut socket = here.connect().await;
        parent.register(&mut socket, "", None).await.unwrap();
    }
    let kept = async |parent: &Parent| {
        let mut socket = here.connect().await;
        parent.log_in(&mut socket).await.unwrap();
        fetch(&mut socket).await
    };
    assert!(mark(&here, &[bait.id], &[]).status.success());
    let first = kept(&bait).await.unwrap();
    let sizes = |vault: &wire::Vault| [vault.request_part.len(), vault.recovery_part.len()];
    assert_eq!(first.version, 1);
    assert!(sizes(&first).into_iter().all(is_part_size));
    // As if its phone wrote anew: the same sizes, other bytes.
    assert!(mark(&here, &[bait.id], &[]).status.success());
    let second = kept(&bait).await.unwrap();
    assert_eq!((second.version, sizes(&second)), (2, sizes(&first)));
    assert!(second.request_part != first.request_part);
    assert!(second.recovery_part != first.recovery_part);
    // One that somebody wrote stays, and the account is none of the decoys.
    real.put(&mut here.connect().await, vault(7, 7))
        .await
        .unwrap();
    let refused = mark(&here, &[real.id], &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--replace-vault"));
    assert_eq!(kept(&real).await, Some(vault(7, 7)));
    assert!(
        mark(&here, &[real.id], &["--replace-vault"])
            .status
            .success()
    );
    let replaced = kept(&real).await.unwrap();
    assert_eq!(replaced.version, 8);
    assert!(replaced.request_part != vault(7, 7).request_part);
}

/// Registers an account in a network of its own, with a vault of these sizes.
async fn registered(logins: &Logins, server: &str, sizes: Option<[usize; 2]>) -> AccountId {
    let mut rng = rand::rng();
    let account = AccountId::random(&mut rng);
    let (state, message) = Registration::start(b"word", &mut rng).unwrap();
    let start = wire::RegisterStart {
        account: account.to_bytes(),
        message: message.into(),
    };
    let names = Names {
        account: &account,
        server,
    };
    let costs = Stretching::cheap_for_tests(8, 1, 1).unwrap();
    let made = logins.register(start, |answer| {
        let done = state.finish(b"word", costs, names, answer, &mut rand::rng());
        let key = SecretKey::random(&mut rand::rng()).public();
        wire::RegisterFinish {
            account: account.to_bytes(),
            record: done.unwrap().record.into(),
            stretching: Some(costs.to_wire()),
            write_key: key.as_bytes().to_vec().into(),
            vault: sizes.map(|[request, recovery]| wire::Vault {
                version: 1,
                request_part: noise(request).into(),
                recovery_part: noise(recovery).into(),
            }),
            ..wire::RegisterFinish::default()
        }
    });
    assert!(made.await);
    account
}

#[tokio::test]
async fn no_column_of_a_dump_tells_decoy_accounts_apart_and_a_planted_tell_is_caught() {
    const ACCOUNTS: &str = "SELECT id, state, request_part, recovery_part FROM account";
    let mut here = Here::start_with(cheap).await;
    let server = here.address().server_name();
    let logins = Logins::of(here.relay.as_ref().unwrap());
    // A town: families of two to five devices, and each of them shows in the size.
    for _ in 0..400 {
        let devices = rand::rng().random_range(2..=5);
        let part = |each: u64| usize::try_from(padme::class(600 + each * devices)).unwrap();
        registered(&logins, &server, Some([part(220), part(310)])).await;
    }
    drop(logins);
    here.stop().await;
    let rows = features(&here.database(), ACCOUNTS);
    let town: BTreeSet<_> = rows.into_iter().map(|(id, _)| id).collect();
    here.restart().await;
    let logins = Logins::of(here.relay.as_ref().unwrap());
    let mut hidden = Vec::new();
    for _ in 0..400 {
        hidden.push(registered(&logins, &server, None).await);
    }
    drop(logins);
    here.stop().await;
    let split = || {
        let rows = features(&here.database(), ACCOUNTS);
        let (real, decoys): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(id, _)| town.contains(id));
        let columns = |rows: Vec<(_, Vec<f64>)>| -> Vec<Vec<f64>> {
            rows.into_iter().map(|(_, columns)| columns).collect()
        };
        // The town's row too many stands for all accounts that are not there.
        assert_eq!((real.len(), decoys.len()), (401, 400));
        (columns(real), columns(decoys))
    };
    // A relay that leaves them without a vault.
    let (real, planted) = split();
    let planted = told_apart(&real, &planted);
    assert!(planted > 0.8, "{planted}");
    let marked = mark(&here, &hidden, &[]);
    let error = String::from_utf8_lossy(&marked.stderr);
    assert!(marked.status.success(), "{error}");
    // Sixteen columns of noise over 401 and 400: 0.6 is five deviations of each.
    let (real, decoys) = split();
    let ours = told_apart(&real, &decoys);
    println!("told apart: {ours:.3}");
    assert!(ours < 0.6, "{ours}");
}

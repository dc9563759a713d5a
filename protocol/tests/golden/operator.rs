//! The operator's log.

use kinline_protocol::operator::{
    Checkpoint, Continuation, EntryError, LogError, OperatorLog, continue_log,
};
use kinline_protocol::primitives::sign::PublicKey;

use super::{bytes, each, number};

#[test]
fn operator_logs() {
    each("operator_log", |vector| {
        let key = PublicKey::from_slice(&bytes(vector, "offline_key")).unwrap();
        let entries: Vec<Vec<u8>> = vector["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| hex::decode(entry.as_str().unwrap()).unwrap())
            .collect();
        let Ok(checkpoint) = Checkpoint::verify(&bytes(vector, "checkpoint"), &key) else {
            return "checkpoint".into();
        };
        match continue_log(&OperatorLog::new(key), &entries, &checkpoint) {
            Ok(Continuation::Continued { log, .. }) => {
                assert_eq!(log.position().size, number(vector, "size"));
                assert_eq!(log.position().head.to_vec(), bytes(vector, "head"));
                "ok"
            }
            // From the beginning both are of one size: the operator has signed both.
            Ok(Continuation::Forked) => "elsewhere",
            Err(LogError::Entry(EntryError::Version(_))) => "version",
            Err(LogError::Index { .. }) => "index",
            Err(LogError::Fork) => "fork",
            Err(LogError::Certificate(_)) => "certificate",
            Err(LogError::Signature) => "signature",
            other => panic!("{other:?}"),
        }
        .into()
    });
}

//! Learning reports: what a child played and achieved, for its guardians.

use super::BodyError;
use super::body::bounded;
use crate::limits;
use crate::wire;

/// Seconds played: a report covers a day at most.
const SECONDS_MAX: u32 = 86_400;
/// Bytes of the words about what was learned.
const TEXT_BYTES_MAX: usize = 1_024;

/// What a child did in a learning app. It says nothing else about the child, and goes to
/// the family's conversation only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The app's name; 1 to [`limits::NAME_BYTES_MAX`] bytes.
    pub app: String,
    /// What was played in it; 1 to [`limits::NAME_BYTES_MAX`] bytes.
    pub activity: String,
    /// The level that was reached.
    pub level: Option<u32>,
    /// The score that was reached.
    pub score: Option<u32>,
    /// The best score there is; only with a score, and not less.
    pub out_of: Option<u32>,
    /// Seconds played; at most a day.
    pub seconds: u32,
    /// What was learned, in words of at most 1,024 bytes; may be empty.
    pub text: String,
}

impl Progress {
    pub(super) fn check(&self) -> Result<(), BodyError> {
        if self.app.trim().is_empty() || self.activity.trim().is_empty() {
            return Err(BodyError::Empty);
        }
        bounded("the app's name", &self.app, limits::NAME_BYTES_MAX)?;
        bounded("the activity", &self.activity, limits::NAME_BYTES_MAX)?;
        bounded("the report", &self.text, TEXT_BYTES_MAX)?;
        if self.out_of.is_some() && self.score > self.out_of
            || self.score.is_none() && self.out_of.is_some()
        {
            return Err(BodyError::Progress("score"));
        }
        if self.seconds > SECONDS_MAX {
            return Err(BodyError::Progress("time"));
        }
        Ok(())
    }

    pub(super) fn to_wire(&self) -> wire::Progress {
        let this = self.clone();
        wire::Progress {
            app: this.app,
            activity: this.activity,
            level: this.level,
            score: this.score,
            out_of: this.out_of,
            seconds: this.seconds,
            text: this.text,
        }
    }

    pub(super) fn from_wire(progress: wire::Progress) -> Self {
        Self {
            app: progress.app,
            activity: progress.activity,
            level: progress.level,
            score: progress.score,
            out_of: progress.out_of,
            seconds: progress.seconds,
            text: progress.text,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::Progress;
    use crate::content::{Body, BodyError};
    use crate::wire;

    fn progress() -> Progress {
        Progress {
            app: "Number Garden".into(),
            activity: "Adding up to 20".into(),
            level: Some(3),
            score: Some(17),
            out_of: Some(20),
            seconds: 720,
            text: "can carry the one".into(),
        }
    }

    #[test]
    fn golden_bytes_and_round_trip() {
        let body = Body::Progress(progress());
        let bytes = progress().to_wire().encode_to_vec();
        let golden = "0a0d4e756d6265722047617264656e120f416464696e6720757020746f203230\
                      180320112814\
                      30d0053a1163616e20636172727920746865206f6e65";
        assert_eq!(hex::encode(&bytes), golden);
        assert_eq!(Body::from_wire(Some(body.to_wire())), Ok(body));
        let read = wire::Progress::decode(bytes.as_slice()).map(Progress::from_wire);
        assert_eq!(read, Ok(progress()));
    }

    #[test]
    fn level_nought_is_not_no_level() {
        let report = |level| {
            Body::Progress(Progress {
                level,
                ..progress()
            })
        };
        for level in [None, Some(0), Some(u32::MAX)] {
            let body = report(level);
            assert_eq!(Body::from_wire(Some(body.to_wire())), Ok(body));
        }
    }

    #[test]
    fn bounds_hold_both_ways() {
        let p = progress;
        let bad = [
            (
                Progress {
                    app: " ".into(),
                    ..p()
                },
                BodyError::Empty,
            ),
            (
                Progress {
                    activity: String::new(),
                    ..p()
                },
                BodyError::Empty,
            ),
            (
                Progress {
                    score: Some(21),
                    ..p()
                },
                BodyError::Progress("score"),
            ),
            (
                Progress { score: None, ..p() },
                BodyError::Progress("score"),
            ),
            (
                Progress {
                    seconds: 86_401,
                    ..p()
                },
                BodyError::Progress("time"),
            ),
        ];
        for (progress, error) in bad {
            let body = Body::Progress(progress);
            assert_eq!(body.check(), Err(error.clone()));
            assert_eq!(Body::from_wire(Some(body.to_wire())), Err(error));
        }
        let long = [
            Progress {
                app: "x".repeat(129),
                ..p()
            },
            Progress {
                activity: "x".repeat(129),
                ..p()
            },
            Progress {
                text: "x".repeat(1_025),
                ..p()
            },
        ];
        for progress in long {
            let checked = Body::Progress(progress).check();
            assert!(matches!(checked, Err(BodyError::TooLong { .. })));
        }
    }
}

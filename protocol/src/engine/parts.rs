//! A family's log told in as many contents as it needs (PROTOCOL §9.7).

use prost::Message as _;

use super::device::Engine;
use super::io::Event;
use super::state::Cx;
use crate::content::{Control, LogNews};
use crate::identity::{FamilyLog, HeadError, LogError, SignedHead};
use crate::ids::ConversationId;
use crate::wire;

/// Bytes of entries in one content: below what a control content may have, with room for the
/// largest entry.
const PART_BYTES_MAX: usize = 96 * 1_024;

impl Engine {
    /// Says a whole log, in parts where it is too long for one content. Each but the last ends
    /// with an entry that is shown: its signature speaks for those before it. False when not
    /// all of it could be said.
    pub(super) fn say_log(&mut self, id: ConversationId, news: LogNews, cx: &mut Cx<'_>) -> bool {
        let Some(parts) = parts(news) else {
            self.counters.refused += 1;
            cx.event(Event::Refused {
                conversation: id,
                sentence: "a family has decided too much that can't be shown to tell it".into(),
            });
            return false;
        };
        parts
            .into_iter()
            .all(|part| self.say(id, Control::News(part), cx))
    }
}

/// A log in parts; `None` when too much is hidden between two entries that are shown.
fn parts(news: LogNews) -> Option<Vec<LogNews>> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let mut rest = news.entries.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0_usize;
        let fit = rest
            .iter()
            .take_while(|entry| {
                bytes = bytes.saturating_add(entry.encoded_len()).saturating_add(8);
                bytes <= PART_BYTES_MAX
            })
            .count();
        let fitting = rest.get(..fit)?;
        let len = if fit == rest.len() {
            fit
        } else {
            let shown = |entry: &wire::LogEntry| entry.statement.is_some();
            fitting.iter().rposition(shown)?.checked_add(1)?
        };
        let (part, later) = rest.split_at_checked(len)?;
        parts.push(LogNews {
            family: news.family,
            from,
            entries: part.to_vec(),
            head: news.head.clone(),
        });
        from = from.checked_add(len as u64)?;
        rest = later;
    }
    Some(parts)
}

/// A log with a later part of it.
pub(super) fn continued(
    known: &FamilyLog,
    from: u64,
    entries: &[wire::LogEntry],
) -> Result<FamilyLog, LogError> {
    let hole = LogError::Hole {
        expected: known.len(),
        found: from,
    };
    let mut all = known.entries();
    let from = usize::try_from(from).map_err(|_| hole.clone())?;
    if from > all.len() {
        return Err(hole);
    }
    all.truncate(from);
    all.extend_from_slice(entries);
    known.merged(&all)
}

/// Whether a log is a part of the one that a head is about, and ends with an entry whose
/// signature speaks for all before it.
pub(super) fn is_part(log: &FamilyLog, head: &SignedHead) -> bool {
    let last = log.entries().pop();
    matches!(head.vouch(log), Err(HeadError::Unknown { .. }))
        && last.is_some_and(|entry| entry.statement.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use prost::Message as _;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha20Rng;

    use super::{continued, is_part, parts};
    use crate::content::{Body, Control, LogNews, kinds};
    use crate::day::Day;
    use crate::identity::{
        AddedDevice, AddedMember, Decision, FamilyLog, Role, Settings, SignedHead, sign_head,
    };
    use crate::ids::{DeviceId, MemberId};
    use crate::policy::Policy;
    use crate::primitives::sign::SecretKey;
    use crate::wire;

    const DAYS: u32 = 12;
    const A_DAY: u32 = 60;

    /// A family that has decided a lot.
    fn long() -> (FamilyLog, SecretKey) {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let key = SecretKey::from_seed(&[2; 32]);
        let (guardian, child) = (MemberId::new([3; 16]), MemberId::new([4; 16]));
        let member = |member, role| AddedMember {
            member,
            role,
            name: "m".into(),
        };
        let device = AddedDevice {
            member: guardian,
            device: DeviceId::new([5; 16]),
            signature_key: SecretKey::from_seed(&[6; 32]).public(),
            name: "d".into(),
            identity_key: Some(key.public()),
        };
        let by = member(guardian, Role::Guardian);
        let settings = Settings::default();
        let mut log = FamilyLog::found("F", by, device, settings, Day(1), &mut rng).unwrap();
        let mut decide = |decision, day| {
            let signed = log.propose(vec![decision], &key, Day(day), &mut rng);
            log.append(&signed[0]).unwrap();
        };
        decide(Decision::AddMember(member(child, Role::Child)), 1);
        for day in 0..DAYS {
            for n in 0..A_DAY {
                let policy = Policy {
                    time_zone: "Europe/Zurich".into(),
                    quiet: vec![],
                    kinds: kinds::ALL,
                    messages_per_day: 1 + day * A_DAY + n,
                    paused: false,
                };
                decide(Decision::SetPolicy { child, policy }, 2 + day);
            }
        }
        (log, key)
    }

    fn told(entries: Vec<wire::LogEntry>, (log, key): &(FamilyLog, SecretKey)) -> LogNews {
        LogNews {
            family: log.family(),
            from: 0,
            entries,
            head: sign_head(log, Day(30), false, key).encode_to_vec().into(),
        }
    }

    #[test]
    fn a_long_log_is_told_in_parts_and_put_together_again() {
        let long = long();
        let news = told(long.0.entries(), &long);
        let head = wire::SignedHead::decode(news.head.clone()).unwrap();
        let head = SignedHead::from_wire(&head).unwrap();
        assert!(Body::Control(Control::News(news.clone())).check().is_err());
        let parts = parts(news).unwrap();
        assert!(parts.len() >= 2);
        let mut known = FamilyLog::from_entries(&parts[0].entries).unwrap();
        for part in &parts {
            assert!(Body::Control(Control::News(part.clone())).check().is_ok());
            if part.from > 0 {
                assert!(is_part(&known, &head), "more is to come");
                assert!(continued(&known, part.from + 1, &part.entries).is_err());
                known = continued(&known, part.from, &part.entries).unwrap();
            }
        }
        assert_eq!(known, long.0);
        assert!(head.vouch(&known).is_ok() && !is_part(&known, &head));
        // An earlier part again takes nothing away.
        let again = continued(&known, parts[1].from, &parts[1].entries);
        assert_eq!(again, Ok(known));
    }

    #[test]
    fn a_part_ends_with_an_entry_that_is_shown_or_is_none() {
        let long = long();
        let hidden = wire::LogEntry {
            statement: None,
            hash: vec![7; 32].into(),
        };
        let mut entries = long.0.entries();
        entries.insert(1, hidden.clone());
        let split = parts(told(entries.clone(), &long)).unwrap();
        assert!(split.len() >= 2);
        for part in &split[..split.len() - 1] {
            assert!(part.entries.last().unwrap().statement.is_some());
        }
        let many = vec![hidden; 3_000];
        entries.splice(1..1, many);
        assert_eq!(parts(told(entries, &long)), None);
    }
}

//! Names for ids, as far as a device knows them: of its own family, of those removed from it,
//! and of the families it was shown.

use std::collections::{BTreeMap, BTreeSet};

use kinline_protocol::content::kinds;
use kinline_protocol::engine::Engine;
use kinline_protocol::identity::{ContactPass, Decision, PassSide, ReturnWay, Role, Supervision};
use kinline_protocol::ids::{ConversationId, DeviceId, FamilyId, MemberId, PassId};
use kinline_protocol::policy::{Policy, QuietHours};

/// Digits of an id that are shown to people.
const SHORT_DIGITS: usize = 8;
/// Days of the week as policies are written.
pub const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Kinds of content as policies and passes are written.
pub const KINDS: [(&str, u32); 5] = [
    ("text", kinds::TEXT),
    ("sticker", kinds::STICKER),
    ("photo", kinds::PHOTO),
    ("voice", kinds::VOICE),
    ("progress", kinds::PROGRESS),
];

/// A person, as the family logs tell of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Name.
    pub name: String,
    /// Whose member.
    pub family: FamilyId,
    /// Guardian or child.
    pub role: Role,
    /// Still in the family.
    pub present: bool,
}

/// Names for ids.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// The family of this device.
    pub own: Option<FamilyId>,
    /// Families by id.
    pub families: BTreeMap<FamilyId, String>,
    /// People of all families, those removed too.
    pub people: BTreeMap<MemberId, Known>,
    /// Devices that were ever in the family: what they call themselves, and whose they are.
    pub devices: BTreeMap<DeviceId, (String, MemberId)>,
    /// Those of them that are in it now.
    pub certified: BTreeSet<DeviceId>,
    /// Conversations by title.
    pub titles: BTreeMap<ConversationId, String>,
    /// Passes of the own family, and those on their way.
    pub passes: BTreeMap<PassId, ContactPass>,
}

/// The beginning of an id, for people.
#[must_use]
pub fn short(id: &[u8]) -> String {
    let mut text = hex::encode(id);
    text.truncate(SHORT_DIGITS);
    text
}

/// Kinds of content in words: `text, photo`.
#[must_use]
pub fn kind_names(bits: u32) -> String {
    if bits & kinds::ALL == kinds::ALL {
        return "everything".to_owned();
    }
    let names: Vec<&str> = KINDS
        .iter()
        .filter(|(_, bit)| bits & bit != 0)
        .map(|(name, _)| *name)
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// A quiet time as it is written: `mon-fri 20:00-07:00`.
#[must_use]
pub fn quiet_words(quiet: &QuietHours) -> String {
    let on = |day: usize| quiet.weekdays & (1 << day) != 0;
    let mut spans = Vec::new();
    let mut day = 0;
    while day < WEEKDAYS.len() {
        let mut end = day;
        while on(day) && end + 1 < WEEKDAYS.len() && on(end + 1) {
            end += 1;
        }
        if let (true, Some(first), Some(last)) = (on(day), WEEKDAYS.get(day), WEEKDAYS.get(end)) {
            spans.push(if end > day {
                format!("{first}-{last}")
            } else {
                (*first).to_owned()
            });
        }
        day = end + 1;
    }
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!(
        "{} {}-{}",
        spans.join(","),
        clock(quiet.from_minute),
        clock(quiet.to_minute)
    )
}

/// A policy in words.
#[must_use]
pub fn policy_words(policy: &Policy) -> String {
    let mut parts = Vec::new();
    if policy.paused {
        parts.push("messages with others are paused".to_owned());
    }
    if !policy.quiet.is_empty() {
        let quiet: Vec<String> = policy.quiet.iter().map(quiet_words).collect();
        parts.push(format!("quiet {}", quiet.join(" and ")));
    }
    parts.push(format!("may send {}", kind_names(policy.kinds)));
    parts.push(match policy.messages_per_day {
        0 => "as many messages a day as one likes".to_owned(),
        number => format!("at most {number} messages a day"),
    });
    parts.push(format!("time of {}", policy.time_zone));
    parts.join("; ")
}

impl Book {
    /// What a device knows now.
    #[must_use]
    pub fn of(engine: &Engine) -> Self {
        let mut book = Self {
            own: engine.family_log().map(|log| log.family()),
            ..Self::default()
        };
        for log in engine.family_logs() {
            let family = log.family();
            book.families.insert(family, log.family_name().to_owned());
            let mut learn = |member: &MemberId, name: &str, role: Role, present: bool| {
                let known = Known {
                    name: name.to_owned(),
                    family,
                    role,
                    present,
                };
                book.people.insert(*member, known);
            };
            for removal in log.removed_members() {
                let person = &removal.person;
                learn(&removal.member, &person.name, person.role, false);
            }
            for (member, person) in log.members() {
                learn(member, &person.name, person.role, true);
            }
            let now = log.certificates().map(|certificate| certificate.device);
            book.certified.extend(now);
            for (_, decision, _) in log.decisions_from(0) {
                match decision {
                    Decision::Found { device, .. } | Decision::AddDevice(device) => {
                        let known = (device.name, device.member);
                        book.devices.insert(device.device, known);
                    }
                    _ => {}
                }
            }
        }
        for (id, under_way) in engine.passes_under_way() {
            book.passes.insert(id, under_way.pass);
        }
        if let Some(log) = engine.family_log() {
            for (id, entry) in log.passes() {
                book.passes.insert(*id, entry.pass.clone());
            }
        }
        for conversation in engine.conversations() {
            for member in &conversation.members {
                book.people.entry(member.member).or_insert_with(|| Known {
                    name: member.name.clone(),
                    family: member.family,
                    role: member.role,
                    present: true,
                });
            }
            book.titles.insert(conversation.id, conversation.title);
        }
        book
    }

    /// Somebody's name; with the family's when it is another one.
    #[must_use]
    pub fn name(&self, member: &MemberId) -> String {
        let Some(known) = self.people.get(member) else {
            return "somebody not known here".to_owned();
        };
        match self.families.get(&known.family) {
            Some(family) if self.own != Some(known.family) => format!("{}/{family}", known.name),
            _ => known.name.clone(),
        }
    }

    /// A family's name.
    #[must_use]
    pub fn family(&self, family: &FamilyId) -> String {
        let name = self.families.get(family).cloned();
        name.unwrap_or_else(|| "a family not known here".to_owned())
    }

    /// Whose device, and what it calls itself.
    #[must_use]
    pub fn device(&self, device: &DeviceId) -> String {
        match self.devices.get(device) {
            Some((name, member)) => format!("{}'s {name}", self.name(member)),
            None => format!("a device not known here ({})", short(device.as_bytes())),
        }
    }

    /// A conversation's title.
    #[must_use]
    pub fn title(&self, conversation: &ConversationId) -> String {
        let title = self.titles.get(conversation).cloned();
        title.unwrap_or_else(|| "a conversation that was left".to_owned())
    }

    /// The two children of a pass.
    #[must_use]
    pub fn children(&self, pass: &ContactPass) -> String {
        let [one, other] = pass.children();
        format!("{} and {}", self.name(&one.1), self.name(&other.1))
    }

    /// What the guardians of one side of a pass see, in words for the child.
    #[must_use]
    pub fn supervision(&self, side: &PassSide) -> String {
        let whose = self.name(&side.child);
        let mut words = match side.supervision {
            Supervision::Contacts => format!("{whose}'s guardians see who talks, not what is said"),
            Supervision::Pictures => {
                format!("{whose}'s guardians see who talks, and get a copy of every picture")
            }
            Supervision::Everything => format!("{whose}'s guardians see everything"),
        };
        let guardians: Vec<String> = side
            .guardians
            .iter()
            .map(|guardian| {
                let may = if guardian.may_write {
                    "may read and write here"
                } else {
                    "may read here"
                };
                format!("{} {may}", self.name(&guardian.member))
            })
            .collect();
        if !guardians.is_empty() {
            words = format!("{words}; {}", guardians.join(", "));
        }
        words
    }

    /// A pass in words: who, how long, what, and what guardians see.
    #[must_use]
    pub fn pass(&self, pass: &ContactPass) -> String {
        let terms = pass.terms();
        let [one, other] = pass.sides();
        format!(
            "{} may talk from {} through {} ({}); {}; {}",
            self.children(pass),
            terms.first_day,
            terms.last_day,
            kind_names(terms.kinds),
            self.supervision(one),
            self.supervision(other),
        )
    }

    /// A pass by its id.
    #[must_use]
    pub fn pass_of(&self, id: &PassId) -> String {
        match self.passes.get(id) {
            Some(pass) => format!(
                "the contact pass {} of {}",
                short(id.as_bytes()),
                self.children(pass)
            ),
            None => format!("the contact pass {}", short(id.as_bytes())),
        }
    }

    /// What was decided, in words.
    #[must_use]
    pub fn decision(&self, decision: &Decision) -> String {
        let role = |role: Role| match role {
            Role::Guardian => "guardian",
            Role::Child => "child",
        };
        match decision {
            Decision::Found {
                family_name,
                guardian,
                ..
            } => format!(
                "the family {family_name} was founded; {} is its first guardian",
                guardian.name
            ),
            Decision::AddMember(member) => {
                format!(
                    "{} belongs to the family ({})",
                    member.name,
                    role(member.role)
                )
            }
            Decision::AddDevice(device) => {
                format!("{}'s {} was let in", self.name(&device.member), device.name)
            }
            Decision::RemoveDevice(device) => format!("{} was removed", self.device(device)),
            Decision::RemoveMember(member) => {
                format!("{} was removed from the family", self.name(member))
            }
            Decision::ApprovePass(pass) => {
                format!("contact allowed: {}", self.pass(pass))
            }
            Decision::RevokePass(pass) => format!("{} was revoked", self.pass_of(pass)),
            Decision::SetPolicy { child, policy } => {
                format!("for {} holds: {}", self.name(child), policy_words(policy))
            }
            Decision::Settings(settings) => format!(
                "what allows more needs {}; a guardian's phone must be heard every {} days",
                match settings.signatures {
                    1 => "one guardian".to_owned(),
                    number => format!("{number} guardians"),
                },
                settings.lease_days
            ),
            Decision::Object { removal } => {
                format!(
                    "the guardian removed by decision {removal} objects: nothing more is allowed until one side gives in"
                )
            }
            Decision::Withdraw { removal } => {
                format!("the quarrel over the removal by decision {removal} was ended")
            }
            Decision::SetRecovery { member, .. } => format!(
                "{} has said how to come back when every phone is lost",
                self.name(member)
            ),
            Decision::Return(back) => format!(
                "{} is back with \"{}\", {}; every device of before is out",
                self.name(&back.member()),
                back.device.name,
                match back.way {
                    ReturnWay::Code => "by the recovery code",
                    ReturnWay::Guardian => "by the password and another guardian's yes",
                    ReturnWay::Waited => "by the password, after a day without a veto",
                }
            ),
            Decision::Ask(back) => format!(
                "{} asks to come back with \"{}\"; it may be vetoed for a day",
                self.name(&back.member()),
                back.device.name
            ),
            Decision::Veto { member, .. } => {
                format!(
                    "who asked to come back as {} was not let in: a guardian vetoed it",
                    self.name(member)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kinline_protocol::content::kinds;
    use kinline_protocol::policy::{Policy, QuietHours};

    use super::{kind_names, policy_words, quiet_words};

    fn quiet(weekdays: u8) -> String {
        quiet_words(&QuietHours {
            weekdays,
            from_minute: 20 * 60,
            to_minute: 7 * 60 + 30,
        })
    }

    #[test]
    fn quiet_times_are_told_as_they_are_written() {
        assert_eq!(quiet(0b001_1111), "mon-fri 20:00-07:30");
        assert_eq!(quiet(0b111_1111), "mon-sun 20:00-07:30");
        assert_eq!(quiet(0b110_0101), "mon,wed,sat-sun 20:00-07:30");
    }

    #[test]
    fn a_policy_is_told_in_words() {
        let mut policy = Policy::open("Europe/Berlin");
        assert_eq!(
            policy_words(&policy),
            "may send everything; as many messages a day as one likes; time of Europe/Berlin"
        );
        policy.paused = true;
        policy.kinds = kinds::TEXT | kinds::PHOTO;
        policy.messages_per_day = 5;
        assert_eq!(
            policy_words(&policy),
            "messages with others are paused; may send text, photo; at most 5 messages a day; time of Europe/Berlin"
        );
        assert_eq!(kind_names(0), "nothing");
    }
}

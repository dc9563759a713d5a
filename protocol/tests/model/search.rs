//! The search: states, what can happen in one, and what has to come of it in the end.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;

use kinline_protocol::conversation::{ConversationKind, Parties, Refusal};
use kinline_protocol::day::Day;
use kinline_protocol::identity::{FamilyLog, Role};

use super::conversations::{Conversations, Gate, Outcome, Proposed, Shared};
use super::families::{
    ACTS, ANNA, Act, BEN, CARO, DAYS, DEVICES, Families, LEO, MIA, NAMES, STRANGER, device_id,
    family_of, is_guardian,
};

/// The contact conversation; 0 and 1 are those of the families.
const CONTACT: usize = 2;

/// How far the search goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of each guardian.
    pub(crate) statements: u8,
    /// In each conversation.
    pub(crate) commits: u8,
    /// In all of them.
    pub(crate) total: u8,
}

/// All that matters for what can happen next. Ids are fixed, days coarse; what a device lags
/// behind in a conversation is left out where it can do nothing but walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    conversations: [u16; 3],
    /// The logs that the families have come to.
    tips: [u16; 2],
    /// The logs that a device in the contact conversation knows, of both families.
    knows: [[u16; 2]; 5],
    day: u8,
    statements: [u8; 5],
    commits: [u8; 3],
}

/// What a device proposes in the contact conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wish {
    Add(u8),
    Remove(u8),
    Reconcile,
}

/// What happened between two states.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "printed")]
enum Step {
    Later,
    Signs(&'static str, Act),
    Walks(&'static str),
    Hears(&'static str),
    Proposes {
        by: &'static str,
        wish: Wish,
        news: bool,
    },
}

type Asked = (u16, u8, Wish, Option<[u16; 2]>, u8);

pub(crate) struct Search {
    bounds: Bounds,
    families: Families,
    conversations: Conversations,
    asked: HashMap<Asked, Option<u16>>,
    carried: HashMap<(u16, u8, u16, u8), u16>,
    newest: HashMap<(u16, [u16; 2]), Parties>,
    tried: HashSet<u16>,
    ended: HashSet<([u16; 3], u8)>,
    states: usize,
    transitions: u64,
    /// For the story of a violation: where each state came from.
    from: HashMap<State, (State, Step)>,
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} transitions, {} ends, {} logs; the gate let {} changes through and refused {}",
            self.states,
            self.transitions,
            self.ended.len(),
            self.families.len(),
            self.accepted(),
            self.refused(),
        )
    }
}

impl Search {
    pub(crate) fn new(gate: Gate, bounds: Bounds) -> Self {
        Self {
            bounds,
            families: Families::new(),
            conversations: Conversations::new(gate),
            asked: HashMap::new(),
            carried: HashMap::new(),
            newest: HashMap::new(),
            tried: HashSet::new(),
            ended: HashSet::new(),
            states: 0,
            transitions: 0,
            from: HashMap::new(),
        }
    }

    pub(crate) fn states(&self) -> usize {
        self.states
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.conversations.accepted
    }

    pub(crate) fn refused(&self) -> u64 {
        self.conversations.refused
    }

    /// Looks at every state.
    ///
    /// # Errors
    /// What went wrong, and how it came to that.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let start = self.start();
        let mut seen = HashSet::from([start]);
        let mut queue = VecDeque::from([start]);
        while let Some(state) = queue.pop_front() {
            self.states += 1;
            self.check(&state)
                .map_err(|what| self.story(&state, &what))?;
            let next = self.next(&state);
            for (label, next) in next.map_err(|what| self.story(&state, &what))? {
                self.transitions += 1;
                if seen.insert(next) {
                    self.from.insert(next, (state, label));
                    queue.push_back(next);
                }
            }
        }
        Ok(())
    }

    fn story(&self, state: &State, what: &str) -> String {
        let mut lines = vec![what.to_owned()];
        let mut at = *state;
        while let Some((before, label)) = self.from.get(&at) {
            lines.push(format!(
                "on day {}: {label:?}",
                DAYS[usize::from(before.day)]
            ));
            at = *before;
        }
        lines.reverse();
        lines.join("\n")
    }

    /// Everybody is in their family's conversation; Mia, Leo and Anna are in the contact's.
    fn start(&mut self) -> State {
        let day = Day(DAYS[0]);
        let within = |log: u16, leaves: &[u8], families: &Families| Shared {
            kind: ConversationKind::Family,
            parties: Parties::from(families.log(log).clone()),
            leaves: leaves.iter().copied().collect(),
            day,
        };
        let (one, other) = (0, 1);
        let contact = Shared {
            kind: ConversationKind::Contact,
            parties: [one, other]
                .map(|log| self.families.extract(log).clone())
                .into_iter()
                .collect(),
            leaves: BTreeSet::from([ANNA, MIA, LEO]),
            day,
        };
        let first = within(one, &[ANNA, BEN, MIA], &self.families);
        let second = within(other, &[CARO, LEO], &self.families);
        State {
            conversations: [first, second, contact].map(|shared| self.conversations.intern(shared)),
            tips: [one, other],
            knows: [[one, other]; 5],
            day: 0,
            statements: [0; 5],
            commits: [0; 3],
        }
    }

    fn leaves(&self, state: &State, conversation: usize) -> &BTreeSet<u8> {
        &self
            .conversations
            .get(state.conversations[conversation])
            .leaves
    }

    /// Holds in every state.
    fn check(&mut self, state: &State) -> Result<(), String> {
        for conversation in 0..3 {
            if self.leaves(state, conversation).contains(&STRANGER) {
                return Err("a stranger is in".into());
            }
        }
        let at = state.conversations[CONTACT];
        if self.tried.insert(at) {
            let contact = self.conversations.get(at);
            for (log, by) in contact.parties.logs().zip(&contact.leaves) {
                if self.conversations.takes_forged_end(at, *by, log) {
                    return Err("a log ends with what nobody signed".into());
                }
            }
        }
        if self.ended.insert((state.conversations, state.day)) {
            self.end(*state)?;
        }
        Ok(())
    }

    fn next(&mut self, state: &State) -> Result<Vec<(Step, State)>, String> {
        let mut next = Vec::new();
        if usize::from(state.day) + 1 < DAYS.len() {
            let later = State {
                day: state.day + 1,
                ..*state
            };
            next.push((Step::Later, later));
        }
        for (by, act) in ACTS {
            self.sign(state, by, act, &mut next)?;
        }
        for device in DEVICES {
            self.learn(state, device, &mut next);
            self.wish(state, device, &mut next)?;
        }
        self.break_in(state)?;
        Ok(next
            .into_iter()
            .map(|(label, next)| (label, self.canonical(next)))
            .collect())
    }

    /// Children's tablets lag behind in any way, guardians' phones do not: that would only
    /// repeat it. What a device knows that can do nothing with it is left out.
    fn canonical(&self, mut state: State) -> State {
        for device in DEVICES {
            if is_guardian(device) && self.leaves(&state, family_of(device)).contains(&device) {
                state.knows[usize::from(device)] = state.tips;
            }
            if !self.leaves(&state, CONTACT).contains(&device) {
                state.knows[usize::from(device)] = [0, 1];
            }
        }
        state
    }

    fn may_commit(&self, state: &State, conversation: usize) -> bool {
        state.commits[conversation] < self.bounds.commits
            && state.commits.iter().sum::<u8>() < self.bounds.total
    }

    /// A guardian signs, and a device of the family carries it into its conversation: the
    /// guardian's own, or for one who was removed the child's tablet.
    fn sign(
        &mut self,
        state: &State,
        by: u8,
        act: Act,
        next: &mut Vec<(Step, State)>,
    ) -> Result<(), String> {
        let family = family_of(by);
        if !self.may_commit(state, family)
            || state.statements[usize::from(by)] >= self.bounds.statements
        {
            return Ok(());
        }
        let leaves = self.leaves(state, family);
        let removed_speaks = matches!(act, Act::Object | Act::Withdraw);
        let carrier = [by, MIA]
            .into_iter()
            .find(|device| leaves.contains(device))
            .filter(|device| *device == by || removed_speaks);
        let Some(carrier) = carrier else {
            return Ok(());
        };
        let log = state.tips[family];
        let Some(signed) = self.families.signed(log, by, act, state.day) else {
            return Ok(());
        };
        let at = state.conversations[family];
        let entered = self.carried(at, carrier, signed, state.day);
        let entered = entered.map_err(|what| format!("{what}: what {by} signed: {act:?}"))?;
        let mut after = *state;
        after.conversations[family] = entered;
        after.tips[family] = signed;
        after.commits[family] += 1;
        after.statements[usize::from(by)] += 1;
        next.push((Step::Signs(NAMES[usize::from(by)], act), after));
        Ok(())
    }

    fn carried(&mut self, at: u16, carrier: u8, signed: u16, day: u8) -> Result<u16, String> {
        let key = (at, carrier, signed, day);
        if let Some(known) = self.carried.get(&key) {
            return Ok(*known);
        }
        let parties = Parties::from(self.families.log(signed).clone());
        let gone = |device: &u8| parties.certificate(&device_id(*device)).is_none();
        let remove = self
            .conversations
            .get(at)
            .leaves
            .iter()
            .copied()
            .filter(|device| *device != carrier && gone(device));
        let proposed = Proposed {
            by: carrier,
            add: vec![],
            remove: remove.collect(),
            parties,
            day: Day(DAYS[usize::from(day)]),
        };
        match self.conversations.propose(at, &proposed) {
            Outcome::Violation(what) => Err(what),
            Outcome::Refused(Refusal::Thaw) => {
                let said = self.says_the_day(at, carrier, day)?;
                let entered = self.carried(said, carrier, signed, day)?;
                self.carried.insert(key, entered);
                Ok(entered)
            }
            Outcome::Refused(refusal) => {
                let carrier = NAMES[usize::from(carrier)];
                Err(format!("{carrier} may not carry it: {refusal}"))
            }
            Outcome::Entered(entered) => {
                self.carried.insert(key, entered);
                Ok(entered)
            }
        }
    }

    /// Who removed a guardian waits until another device has said that the freeze is over.
    fn says_the_day(&mut self, at: u16, carrier: u8, day: u8) -> Result<u16, String> {
        let before = self.conversations.get(at);
        let other = before.leaves.iter().copied().find(|leaf| *leaf != carrier);
        let proposed = Proposed {
            by: other.ok_or("nobody else is there")?,
            add: vec![],
            remove: vec![],
            parties: before.parties.clone(),
            day: Day(DAYS[usize::from(day)]),
        };
        match self.conversations.propose(at, &proposed) {
            Outcome::Entered(entered) if entered != at => Ok(entered),
            Outcome::Entered(_) => Err("nobody says what day it is".into()),
            Outcome::Violation(what) => Err(what),
            Outcome::Refused(refusal) => Err(format!("the day can't be said: {refusal}")),
        }
    }

    /// A device walks one slot of its family's conversation, or hears from the other family.
    fn learn(&self, state: &State, device: u8, next: &mut Vec<(Step, State)>) {
        let family = family_of(device);
        if !self.leaves(state, CONTACT).contains(&device)
            || !self.leaves(state, family).contains(&device)
        {
            return;
        }
        let knows = state.knows[usize::from(device)];
        let own = self.families.step(knows[family], state.tips[family]);
        let others = state.tips[1 - family];
        let name = NAMES[usize::from(device)];
        for (family, log, step) in [
            (family, own, Step::Walks(name)),
            (1 - family, others, Step::Hears(name)),
        ] {
            if knows[family] != log {
                let mut after = *state;
                after.knows[usize::from(device)][family] = log;
                next.push((step, after));
            }
        }
    }

    /// A device proposes something in the contact conversation, with the logs that it knows or
    /// as if it knew nothing new.
    fn wish(
        &mut self,
        state: &State,
        device: u8,
        next: &mut Vec<(Step, State)>,
    ) -> Result<(), String> {
        let leaves = self.leaves(state, CONTACT);
        if !leaves.contains(&device) || !self.may_commit(state, CONTACT) {
            return Ok(());
        }
        let mut wishes = vec![Wish::Reconcile];
        for other in (0..=STRANGER).filter(|other| *other != device) {
            wishes.push(if leaves.contains(&other) {
                Wish::Remove(other)
            } else {
                Wish::Add(other)
            });
        }
        let knows = state.knows[usize::from(device)];
        let at = state.conversations[CONTACT];
        for wish in wishes {
            let with_logs: &[Option<[u16; 2]>] = match wish {
                Wish::Reconcile => &[Some(knows)],
                Wish::Add(_) | Wish::Remove(_) => &[Some(knows), None],
            };
            for with in with_logs {
                let Some(entered) = self.asked(at, device, wish, *with, state.day)? else {
                    continue;
                };
                let mut after = *state;
                after.conversations[CONTACT] = entered;
                after.commits[CONTACT] += 1;
                if let Wish::Add(new) = wish
                    && new != STRANGER
                {
                    // A joiner has walked its family's conversation, and got the others' logs.
                    let family = family_of(new);
                    let own = state.tips[family];
                    after.knows[usize::from(new)][family] = own;
                }
                let news = with.is_some();
                let by = NAMES[usize::from(device)];
                next.push((Step::Proposes { by, wish, news }, after));
            }
        }
        Ok(())
    }

    fn asked(
        &mut self,
        at: u16,
        by: u8,
        wish: Wish,
        knows: Option<[u16; 2]>,
        day: u8,
    ) -> Result<Option<u16>, String> {
        let key = (at, by, wish, knows, day);
        if let Some(known) = self.asked.get(&key) {
            return Ok(*known);
        }
        let shared = self.conversations.get(at).clone();
        let newest = match knows {
            Some(knows) => self.newest(at, knows),
            None => shared.parties.clone(),
        };
        let mut proposed = Proposed {
            by,
            add: vec![],
            remove: vec![],
            parties: newest,
            day: Day(DAYS[usize::from(day)]).max(shared.day),
        };
        match wish {
            Wish::Add(device) => proposed.add.push(device),
            Wish::Remove(device) => proposed.remove.push(device),
            Wish::Reconcile => plan(&shared, &mut proposed),
        }
        let nothing = proposed.add.is_empty() && proposed.remove.is_empty();
        let entered = if wish == Wish::Reconcile && nothing {
            None
        } else {
            match self.conversations.propose(at, &proposed) {
                Outcome::Violation(what) => return Err(what),
                // Who was put out may wish what it likes.
                Outcome::Refused(refusal)
                    if wish == Wish::Reconcile && refusal != Refusal::Committer =>
                {
                    return Err(format!(
                        "somebody stays for ever: {} may not add {:?} and remove {:?}: {refusal}",
                        NAMES[usize::from(by)],
                        proposed.add,
                        proposed.remove,
                    ));
                }
                Outcome::Refused(_) => None,
                Outcome::Entered(entered) => Some(entered),
            }
        };
        self.asked.insert(key, entered);
        Ok(entered)
    }

    /// The logs of a conversation and what a device knows more, as the other family may see it.
    fn newest(&mut self, at: u16, knows: [u16; 2]) -> Parties {
        if let Some(known) = self.newest.get(&(at, knows)) {
            return known.clone();
        }
        let logs = self.conversations.get(at).parties.logs();
        let newest = logs.map(|log| {
            let mut known = knows.iter().map(|known| self.families.extract(*known));
            let known = known.find(|known| known.family() == log.family());
            log.merged(&known.map(FamilyLog::entries).unwrap_or_default())
                .unwrap()
        });
        let newest: Parties = newest.collect();
        self.newest.insert((at, knows), newest.clone());
        newest
    }

    /// Into a family's conversation nobody comes whom its log does not name, and no child puts
    /// out others.
    fn break_in(&mut self, state: &State) -> Result<(), String> {
        for family in 0..2 {
            let at = state.conversations[family];
            if !self.tried.insert(at) {
                continue;
            }
            let shared = self.conversations.get(at).clone();
            let parties = shared.parties.clone();
            for by in &shared.leaves {
                for other in (0..=STRANGER).filter(|other| other != by) {
                    let there = shared.leaves.contains(&other);
                    let proposed = Proposed {
                        by: *by,
                        add: if there { vec![] } else { vec![other] },
                        remove: if there { vec![other] } else { vec![] },
                        parties: parties.clone(),
                        day: Day(DAYS[usize::from(state.day)]),
                    };
                    if let Outcome::Violation(what) = self.conversations.propose(at, &proposed) {
                        return Err(what);
                    }
                }
            }
        }
        Ok(())
    }

    /// When everybody has walked every slot and brought order until nothing is left to do, only
    /// those are there who belong there by the newest logs.
    fn end(&mut self, mut state: State) -> Result<(), String> {
        let tips = state.tips;
        let acts = |search: &Self, state: &State, device: u8| {
            let log = search.families.log(tips[family_of(device)]);
            log.certificate(&device_id(device)).is_some()
                && search.leaves(state, CONTACT).contains(&device)
        };
        let mut rounds = 0;
        loop {
            let before = state.conversations[CONTACT];
            for device in DEVICES {
                let at = state.conversations[CONTACT];
                if acts(self, &state, device)
                    && let Some(entered) =
                        self.asked(at, device, Wish::Reconcile, Some(tips), state.day)?
                {
                    state.conversations[CONTACT] = entered;
                }
            }
            if state.conversations[CONTACT] == before {
                break;
            }
            rounds += 1;
            if rounds > 8 {
                return Err("bringing order does not end".into());
            }
        }
        let newest = self.newest(state.conversations[CONTACT], tips);
        let shared = self.conversations.get(state.conversations[CONTACT]);
        let there: Vec<u8> = shared.leaves.iter().copied().collect();
        // Nobody can take out itself, and who was put out of its family learns nothing.
        if there.len() < 2 || !there.iter().any(|device| acts(self, &state, *device)) {
            return Ok(());
        }
        let devices: Vec<_> = there.iter().map(|device| device_id(*device)).collect();
        let people = newest.certificates_of(&devices);
        let day = Day(DAYS[usize::from(state.day)]).max(shared.day);
        for device in &there {
            let certificate = newest.certificate(&device_id(*device));
            let belongs = certificate.is_some_and(|certificate| {
                newest
                    .may_be_in(ConversationKind::Contact, &certificate, &people, day)
                    .is_ok()
            });
            if !belongs {
                let name = NAMES[usize::from(*device)];
                return Err(format!("{name} stays for ever among {there:?}"));
            }
        }
        Ok(())
    }
}

/// What a device that follows the rules would do: as the engine's `plan_leaves`.
fn plan(shared: &Shared, proposed: &mut Proposed) {
    let newest = &proposed.parties;
    let ids = |devices: &[u8]| devices.iter().map(|n| device_id(*n)).collect::<Vec<_>>();
    let there: Vec<u8> = shared.leaves.iter().copied().collect();
    let people = newest.certificates_of(&ids(&there));
    let stays = |device: &u8| {
        let certificate = newest.certificate(&device_id(*device));
        certificate.is_some_and(|certificate| {
            newest
                .may_be_in(shared.kind, &certificate, &people, proposed.day)
                .is_ok()
        })
    };
    let goes = |device: &&u8| **device != proposed.by && !stays(device);
    proposed.remove = there.iter().filter(goes).copied().collect();
    let stay: Vec<u8> = there
        .iter()
        .filter(|device| !proposed.remove.contains(device))
        .copied()
        .collect();
    // Who has to go itself brings nobody: those who come would meet it.
    if !stays(&proposed.by) {
        return;
    }
    let people = newest.certificates_of(&ids(&stay));
    for device in DEVICES {
        let Some(certificate) = newest.certificate(&device_id(device)) else {
            continue;
        };
        let own = family_of(device) == family_of(proposed.by);
        let wanted = certificate.role == Role::Guardian
            && newest.is_supervised_by(&certificate, &people, proposed.day);
        if own && wanted && !stay.contains(&device) {
            proposed.add.push(device);
        }
    }
}

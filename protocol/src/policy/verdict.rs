//! Whether a content may go out now, and if not, why, in words for a child.

use super::quiet::Quiet;
use super::{DayCount, Policy, QuietEnd};
use crate::content::{Body, kinds};
use crate::day::Timestamp;

/// Who would read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The family's conversation.
    Family,
    /// Guardians of the child's family and the child, nobody else.
    Guardians,
    /// Anybody else too.
    Others,
}

/// What a policy says to a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may go.
    Allowed,
    /// It may not go now.
    Refused(Why),
}

/// Why a content may not go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Everything is paused.
    #[error("Your guardians have paused messages with others.")]
    Paused,
    /// This kind is off.
    #[error("{0} are switched off for this tablet.")]
    Kind(&'static str),
    /// It is quiet time.
    #[error("It is quiet time until {0}.")]
    Quiet(QuietEnd),
    /// It is quiet time all week.
    #[error("It is always quiet time; your guardians can change that.")]
    AlwaysQuiet,
    /// As many as allowed were sent.
    #[error(
        "That was {messages} {} today; there are more tomorrow.",
        if *.messages == 1 { "message" } else { "messages" }
    )]
    Limit {
        /// So many.
        messages: u32,
    },
}

impl Policy {
    /// Judges a content that the child wants to send.
    ///
    /// What takes something back, and what devices tell each other by themselves, always goes.
    #[must_use]
    pub fn judge(
        &self,
        body: &Body,
        audience: Audience,
        now: Timestamp,
        count: DayCount,
    ) -> Verdict {
        match self.why_not(body, audience, now, count) {
            Some(why) => Verdict::Refused(why),
            None => Verdict::Allowed,
        }
    }

    fn why_not(
        &self,
        body: &Body,
        audience: Audience,
        now: Timestamp,
        count: DayCount,
    ) -> Option<Why> {
        if audience != Audience::Others || matches!(body, Body::Delete { .. } | Body::Control(_)) {
            return None;
        }
        if self.paused {
            return Some(Why::Paused);
        }
        let kind = body.kind_bit();
        if !self.allows_kind(kind) {
            return Some(Why::Kind(kinds::name(kind)));
        }
        let rest = self.rest(now);
        if rest.is_some() || !body.is_message() {
            return rest;
        }
        (self.left_today(now, count) == Some(0)).then_some(Why::Limit {
            messages: self.messages_per_day,
        })
    }

    /// Whether contents of this kind, a bit of [`kinds`] or 0, go and come at all.
    #[must_use]
    pub const fn allows_kind(&self, kind: u32) -> bool {
        kind & !self.kinds == 0
    }

    /// Why nothing at all goes to others, or comes from them, at this moment.
    #[must_use]
    pub fn rest(&self, now: Timestamp) -> Option<Why> {
        if self.paused {
            return Some(Why::Paused);
        }
        match self.quiet(now) {
            Quiet::Until(end) => Some(Why::Quiet(end)),
            Quiet::Always => Some(Why::AlwaysQuiet),
            Quiet::From(_) | Quiet::Never => None,
        }
    }

    /// Messages to others that are left of the local day; `None`: as many as one likes.
    #[must_use]
    pub fn left_today(&self, now: Timestamp, count: DayCount) -> Option<u32> {
        let sent = || count.on(self.zone().day(now)).sent;
        (self.messages_per_day > 0).then(|| self.messages_per_day.saturating_sub(sent()))
    }

    /// The count after a content was sent. Only messages to others count; reactions, edits
    /// and what is taken back do not.
    #[must_use]
    pub fn count(
        &self,
        body: &Body,
        audience: Audience,
        now: Timestamp,
        count: DayCount,
    ) -> DayCount {
        let count = count.on(self.zone().day(now));
        if audience == Audience::Others && body.is_message() {
            count.plus_one()
        } else {
            count
        }
    }
}

//! Contact passes: permission for two children of different families to talk, the same exact
//! bytes in the logs of both.

use bytes::Bytes;
use prost::Message;

use crate::day::Day;
use crate::ids::{FamilyId, IdLengthError, MemberId, PassId};
use crate::limits;
use crate::wire;

/// Version of passes this code writes and reads.
const VERSION: u32 = 1;

/// How much a child's guardians see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Supervision {
    /// Who the child talks with.
    Contacts,
    /// And copies of the pictures.
    Pictures,
    /// And everything: a guardian is in the room.
    Everything,
}

/// A guardian who may be in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassGuardian {
    /// Who.
    pub member: MemberId,
    /// Whether they may write there, not only read.
    pub may_write: bool,
}

/// What a pass says about one of its two families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassSide {
    /// The family.
    pub family: FamilyId,
    /// Its child.
    pub child: MemberId,
    /// What its guardians see.
    pub supervision: Supervision,
    /// Those of its guardians who may be in the room; at least one for
    /// [`Supervision::Everything`], at most [`limits::PASS_GUARDIANS_MAX`].
    pub guardians: Vec<PassGuardian>,
}

/// What a pass says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassTerms {
    /// Its id.
    pub pass: PassId,
    /// The two families.
    pub sides: [PassSide; 2],
    /// Kinds of content, bits of [`crate::content::kinds`].
    pub kinds: u32,
    /// The first day on which it holds.
    pub first_day: Day,
    /// The last day on which it holds, at most [`limits::PASS_DAYS_MAX`] after the first.
    pub last_day: Day,
}

/// Why bytes are no contact pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// Not protobuf of this schema.
    #[error("the contact pass is damaged")]
    Malformed(#[source] prost::DecodeError),
    /// A version this code does not know.
    #[error("the contact pass is of version {0}, which is not known here")]
    Version(u32),
    /// An id of a wrong length.
    #[error("the contact pass carries a damaged id")]
    Id(#[from] IdLengthError),
    /// Longer than [`limits::PASS_BYTES_MAX`].
    #[error("the contact pass is too long")]
    Length,
    /// Not for exactly two different families.
    #[error("a contact pass joins two different families")]
    Sides,
    /// No known supervision on a side.
    #[error("the contact pass names a supervision that is not known here")]
    Supervision,
    /// Guardians that are too many, named twice, or missing where one has to be in the room.
    #[error("the guardians named in the contact pass do not fit its supervision")]
    Guardians,
    /// Allows nothing.
    #[error("the contact pass allows no kind of message")]
    Kinds,
    /// Ends before it begins, or lasts too long.
    #[error("the days of the contact pass do not fit")]
    Days,
}

/// A pass that keeps to its bounds, with its exact bytes. Whether a family approved it, its log
/// says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactPass {
    terms: PassTerms,
    bytes: Bytes,
}

impl ContactPass {
    /// Writes a pass.
    ///
    /// # Errors
    /// [`PassError`] when the terms are out of bounds.
    pub fn new(terms: PassTerms) -> Result<Self, PassError> {
        terms.check()?;
        let bytes = terms.to_wire().encode_to_vec().into();
        Ok(Self { terms, bytes })
    }

    /// Reads a pass and keeps its exact bytes.
    ///
    /// # Errors
    /// [`PassError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PassError> {
        if bytes.len() > limits::PASS_BYTES_MAX {
            return Err(PassError::Length);
        }
        let pass = wire::ContactPass::decode(bytes).map_err(PassError::Malformed)?;
        if pass.version != VERSION {
            return Err(PassError::Version(pass.version));
        }
        let sides = pass
            .sides
            .iter()
            .map(PassSide::from_wire)
            .collect::<Result<Vec<_>, _>>()?;
        let terms = PassTerms {
            pass: PassId::try_from(&pass.pass)?,
            sides: sides.try_into().map_err(|_| PassError::Sides)?,
            kinds: pass.kinds,
            first_day: Day(pass.first_day),
            last_day: Day(pass.last_day),
        };
        terms.check()?;
        Ok(Self {
            terms,
            bytes: Bytes::copy_from_slice(bytes),
        })
    }

    /// What it says.
    #[must_use]
    pub const fn terms(&self) -> &PassTerms {
        &self.terms
    }

    /// The exact bytes that both families approve.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> PassId {
        self.terms.pass
    }

    /// Both sides.
    #[must_use]
    pub const fn sides(&self) -> &[PassSide; 2] {
        &self.terms.sides
    }

    /// Allowed kinds of content, bits of [`crate::content::kinds`].
    #[must_use]
    pub const fn kinds(&self) -> u32 {
        self.terms.kinds
    }

    /// The side of this family.
    #[must_use]
    pub fn side_of(&self, family: &FamilyId) -> Option<&PassSide> {
        self.sides().iter().find(|side| side.family == *family)
    }

    /// The side that is not this family's; `None` when neither is.
    #[must_use]
    pub fn other_side(&self, family: &FamilyId) -> Option<&PassSide> {
        self.side_of(family)?;
        self.sides().iter().find(|side| side.family != *family)
    }

    /// Whether it lets this guardian into the room, and then whether they may write.
    #[must_use]
    pub fn names_guardian(&self, family: &FamilyId, member: &MemberId) -> Option<bool> {
        self.side_of(family)?
            .guardians
            .iter()
            .find(|guardian| guardian.member == *member)
            .map(|guardian| guardian.may_write)
    }

    /// The two children, with their families.
    #[must_use]
    pub fn children(&self) -> [(FamilyId, MemberId); 2] {
        self.sides()
            .each_ref()
            .map(|side| (side.family, side.child))
    }

    /// Whether it joins these two children, in either order.
    #[must_use]
    pub fn joins(&self, one: (FamilyId, MemberId), other: (FamilyId, MemberId)) -> bool {
        let [first, second] = self.children();
        (first, second) == (one, other) || (first, second) == (other, one)
    }

    /// Whether `day` lies in its days.
    #[must_use]
    pub fn covers(&self, day: Day) -> bool {
        (self.terms.first_day..=self.terms.last_day).contains(&day)
    }
}

impl PassTerms {
    fn check(&self) -> Result<(), PassError> {
        let [one, other] = &self.sides;
        if one.family == other.family {
            return Err(PassError::Sides);
        }
        one.check()?;
        other.check()?;
        if self.kinds == 0 {
            return Err(PassError::Kinds);
        }
        if self.last_day < self.first_day
            || self.last_day > self.first_day.plus(limits::PASS_DAYS_MAX)
        {
            return Err(PassError::Days);
        }
        Ok(())
    }

    fn to_wire(&self) -> wire::ContactPass {
        wire::ContactPass {
            version: VERSION,
            pass: self.pass.to_bytes(),
            sides: self.sides.iter().map(PassSide::to_wire).collect(),
            kinds: self.kinds,
            first_day: self.first_day.0,
            last_day: self.last_day.0,
        }
    }
}

impl PassSide {
    fn check(&self) -> Result<(), PassError> {
        let twice = self.guardians.iter().enumerate().any(|(at, guardian)| {
            self.guardians
                .iter()
                .skip(at.saturating_add(1))
                .any(|other| other.member == guardian.member)
        });
        let missing = self.supervision == Supervision::Everything && self.guardians.is_empty();
        if twice || missing || self.guardians.len() > limits::PASS_GUARDIANS_MAX {
            return Err(PassError::Guardians);
        }
        Ok(())
    }

    fn to_wire(&self) -> wire::PassSide {
        wire::PassSide {
            family: self.family.to_bytes(),
            child: self.child.to_bytes(),
            supervision: match self.supervision {
                Supervision::Contacts => wire::Supervision::Contacts,
                Supervision::Pictures => wire::Supervision::Pictures,
                Supervision::Everything => wire::Supervision::Everything,
            }
            .into(),
            guardians: self
                .guardians
                .iter()
                .map(|guardian| wire::PassGuardian {
                    member: guardian.member.to_bytes(),
                    may_write: guardian.may_write,
                })
                .collect(),
        }
    }

    fn from_wire(side: &wire::PassSide) -> Result<Self, PassError> {
        let supervision = match side.supervision() {
            wire::Supervision::Contacts => Supervision::Contacts,
            wire::Supervision::Pictures => Supervision::Pictures,
            wire::Supervision::Everything => Supervision::Everything,
            wire::Supervision::Unspecified => return Err(PassError::Supervision),
        };
        Ok(Self {
            family: FamilyId::try_from(&side.family)?,
            child: MemberId::try_from(&side.child)?,
            supervision,
            guardians: side
                .guardians
                .iter()
                .map(|guardian| {
                    Ok(PassGuardian {
                        member: MemberId::try_from(&guardian.member)?,
                        may_write: guardian.may_write,
                    })
                })
                .collect::<Result<_, PassError>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{ContactPass, PassError, PassGuardian, PassSide, PassTerms, Supervision};
    use crate::day::Day;
    use crate::ids::{FamilyId, MemberId, PassId};
    use crate::wire;
    use prost::Message;

    fn family(n: u8) -> FamilyId {
        FamilyId::new([n; 16])
    }

    fn member(n: u8) -> MemberId {
        MemberId::new([n; 16])
    }

    fn guardian(n: u8, may_write: bool) -> PassGuardian {
        PassGuardian {
            member: member(n),
            may_write,
        }
    }

    fn terms(change: impl FnOnce(&mut PassTerms)) -> PassTerms {
        let mut terms = PassTerms {
            pass: PassId::new([7; 16]),
            sides: [
                PassSide {
                    family: family(1),
                    child: member(11),
                    supervision: Supervision::Everything,
                    guardians: vec![guardian(12, true), guardian(13, false)],
                },
                PassSide {
                    family: family(2),
                    child: member(21),
                    supervision: Supervision::Contacts,
                    guardians: vec![],
                },
            ],
            kinds: 1,
            first_day: Day(100),
            last_day: Day(500),
        };
        change(&mut terms);
        terms
    }

    #[test]
    fn a_pass_reads_back_and_answers() {
        let pass = ContactPass::new(terms(|_| ())).unwrap();
        assert_eq!(ContactPass::decode(pass.bytes()).unwrap(), pass);
        assert_eq!(pass.side_of(&family(1)).unwrap().child, member(11));
        assert_eq!(pass.other_side(&family(1)).unwrap().child, member(21));
        assert_eq!(pass.other_side(&family(3)), None);
        assert_eq!(pass.names_guardian(&family(1), &member(12)), Some(true));
        assert_eq!(pass.names_guardian(&family(1), &member(13)), Some(false));
        assert_eq!(pass.names_guardian(&family(2), &member(12)), None);
        let [one, other] = pass.children();
        assert!(pass.joins(one, other) && pass.joins(other, one));
        assert!(!pass.joins(one, one) && !pass.joins(one, (family(2), member(22))));
        let days = [(99, false), (100, true), (500, true), (501, false)];
        for (day, covered) in days {
            assert_eq!(pass.covers(Day(day)), covered, "{day}");
        }
    }

    #[test]
    fn a_pass_keeps_to_its_bounds() {
        let many = (0..9).map(|n| guardian(n, false)).collect::<Vec<_>>();
        let cases = [
            (PassError::Sides, terms(|t| t.sides[1].family = family(1))),
            (PassError::Guardians, terms(|t| t.sides[0].guardians = many)),
            (
                PassError::Guardians,
                terms(|t| t.sides[0].guardians.push(guardian(12, false))),
            ),
            (
                PassError::Guardians,
                terms(|t| t.sides[0].guardians.clear()),
            ),
            (PassError::Kinds, terms(|t| t.kinds = 0)),
            (PassError::Days, terms(|t| t.last_day = Day(99))),
            (PassError::Days, terms(|t| t.last_day = Day(501))),
        ];
        for (error, terms) in cases {
            let bytes = terms.to_wire().encode_to_vec();
            assert_eq!(ContactPass::decode(&bytes), Err(error.clone()));
            assert_eq!(ContactPass::new(terms), Err(error));
        }
    }

    #[test]
    fn damaged_passes_are_refused() {
        let good = terms(|_| ()).to_wire();
        let changed = |change: fn(&mut wire::ContactPass)| {
            let mut pass = good.clone();
            change(&mut pass);
            ContactPass::decode(&pass.encode_to_vec()).unwrap_err()
        };
        assert_eq!(changed(|p| p.version = 2), PassError::Version(2));
        assert_eq!(changed(|p| p.sides.truncate(1)), PassError::Sides);
        let third = |p: &mut wire::ContactPass| p.sides.push(p.sides[0].clone());
        assert_eq!(changed(third), PassError::Sides);
        assert_eq!(
            changed(|p| p.sides[0].supervision = 4),
            PassError::Supervision
        );
        assert!(matches!(
            changed(|p| p.pass = vec![0; 15].into()),
            PassError::Id(_)
        ));
        assert!(matches!(
            changed(|p| p.sides[1].child = vec![0; 17].into()),
            PassError::Id(_)
        ));
        assert_eq!(ContactPass::decode(&[0; 1_025]), Err(PassError::Length));
        let bytes = good.encode_to_vec();
        assert!(matches!(
            ContactPass::decode(&bytes[..bytes.len() - 1]),
            Err(PassError::Malformed(_) | PassError::Days)
        ));
    }
}

//! From what is said about friends to what does it.

use super::args_contacts::ContactVerb;
use super::failure::Failure;
use super::session::Session;
use super::{groups, meeting, passes, safety};

/// Does one of these.
pub(super) async fn run(session: &Session, verb: ContactVerb) -> Result<(), Failure> {
    match verb {
        ContactVerb::Meet(verb) => meeting::run(session, verb).await,
        ContactVerb::Pass(verb) => passes::run(session, verb).await,
        ContactVerb::Group(verb) => groups::run(session, verb).await,
        ContactVerb::AskFriend { code, words } => {
            safety::ask_friend(session, code.join(" "), words).await
        }
        ContactVerb::Leave { title } => safety::leave(session, &title).await,
        ContactVerb::Block { title, name } => safety::block(session, &title, &name, true).await,
        ContactVerb::Unblock { title, name } => safety::block(session, &title, &name, false).await,
        ContactVerb::Report { id, words } => safety::report(session, &id, words).await,
    }
}

//! Where two devices that know a code meet: the rendezvous of the relay in one thread.

use bytes::Bytes;
use kinline_protocol::wire::{self, ErrorCode, client_frame::Body as C, server_frame::Body as S};

use super::{Name, Relay};

impl Relay {
    /// Serves what concerns a meeting point; there is nothing else that this relay does not know.
    pub(super) fn serve_meeting(&mut self, name: Name, id: u64, body: C) {
        match body {
            C::RendezvousOpen(open) => {
                let held = self.rendezvous.get(open.rendezvous.as_ref());
                if self.take_next > 0 || held.is_some_and(|(opener, _)| *opener != name) {
                    self.take_next = self.take_next.saturating_sub(1);
                    return self.error(name, id, ErrorCode::Taken);
                }
                self.rendezvous
                    .insert(open.rendezvous.to_vec(), (name, None));
                let ready = wire::RendezvousReady {
                    rendezvous: open.rendezvous,
                    joined: false,
                };
                self.say(name, id, S::RendezvousReady(ready));
            }
            C::RendezvousJoin(join) => {
                let Some(meeting) = self.rendezvous.get_mut(join.rendezvous.as_ref()) else {
                    return self.error(name, id, ErrorCode::NotFound);
                };
                if meeting.1.is_some_and(|joiner| joiner != name) || meeting.0 == name {
                    return self.error(name, id, ErrorCode::Taken);
                }
                meeting.1 = Some(name);
                let opener = meeting.0;
                let ready = wire::RendezvousReady {
                    rendezvous: join.rendezvous,
                    joined: true,
                };
                self.say(opener, 0, S::RendezvousReady(ready.clone()));
                self.say(name, id, S::RendezvousReady(ready));
            }
            C::RendezvousPut(put) => {
                let Some((opener, joiner)) = self.rendezvous.get(put.rendezvous.as_ref()).copied()
                else {
                    return;
                };
                let other = if opener == name { joiner } else { Some(opener) };
                if let Some(other) = other.filter(|other| self.connections.contains_key(other)) {
                    let got = wire::RendezvousGot {
                        rendezvous: put.rendezvous,
                        body: put.body,
                        closed: false,
                    };
                    self.say(other, 0, S::RendezvousGot(got));
                }
            }
            C::RendezvousLeave(leave) => {
                let side = self
                    .rendezvous
                    .get(leave.rendezvous.as_ref())
                    .is_some_and(|(opener, joiner)| *opener == name || *joiner == Some(name));
                if side {
                    self.end_meeting(name, leave.rendezvous);
                }
            }
            other => panic!("not served here: {other:?}"),
        }
    }

    /// Who met somebody there hears that the other side left.
    pub(super) fn end_meetings(&mut self, name: Name) {
        let meetings = self
            .rendezvous
            .iter()
            .filter(|(_, (opener, joiner))| *opener == name || *joiner == Some(name));
        let ended: Vec<Vec<u8>> = meetings.map(|(id, _)| id.clone()).collect();
        for id in ended {
            self.end_meeting(name, id.into());
        }
    }

    fn end_meeting(&mut self, name: Name, rendezvous: Bytes) {
        let Some((opener, joiner)) = self.rendezvous.remove(rendezvous.as_ref()) else {
            return;
        };
        let other = if opener == name { joiner } else { Some(opener) };
        if let Some(other) = other.filter(|other| self.connections.contains_key(other)) {
            let got = wire::RendezvousGot {
                rendezvous,
                body: Bytes::new(),
                closed: true,
            };
            self.say(other, 0, S::RendezvousGot(got));
        }
    }

    /// Meeting points that are open.
    pub(crate) fn open_meetings(&self) -> usize {
        self.rendezvous.len()
    }
}

//! Changes that wait for their turn: queued, kept over restarts, moved along when a
//! conversation is formed again, and named with a reason when they can't be made.

use super::device::Engine;
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::identity::{Decision, Statement};
use crate::ids::ConversationId;
use crate::wire;

impl Engine {
    pub(super) fn queue_operation(&mut self, operation: wire::OperationRecord, cx: &mut Cx<'_>) {
        let number = self.next_operation;
        self.next_operation = number.saturating_add(1);
        cx.put_message(records::number(records::OPERATION, number), &operation);
        self.operations.insert(number, operation);
    }

    pub(super) fn forget_operation(&mut self, number: u64, cx: &mut Cx<'_>) {
        cx.erase(records::number(records::OPERATION, number));
        self.operations.remove(&number);
    }

    pub(super) fn drop_operation(
        &mut self,
        number: u64,
        id: ConversationId,
        sentence: &str,
        cx: &mut Cx<'_>,
    ) {
        let operation = self.operations.get(&number);
        let decisions = operation.map(decisions_of);
        let forms = operation.is_some_and(|it| !it.children.is_empty());
        self.forget_operation(number, cx);
        self.counters.refused += 1;
        let sentence = sentence.to_owned();
        if forms {
            // The guardians have it formed by another, or later.
            self.tell_refusal(id, &sentence, cx);
            self.unform(id, cx);
        }
        match decisions.filter(|decisions| !decisions.is_empty()) {
            Some(decisions) => {
                self.forget_approvals(&decisions, cx);
                cx.event(Event::NotDecided {
                    decisions,
                    sentence,
                });
            }
            None => cx.event(Event::Refused {
                conversation: id,
                sentence,
            }),
        }
    }

    fn operations_of(
        &self,
        id: ConversationId,
        which: impl Fn(&wire::OperationRecord) -> bool,
    ) -> Vec<u64> {
        let of = |op: &wire::OperationRecord| op.conversation.as_ref() == id.as_bytes();
        self.operations
            .iter()
            .filter(|(_, op)| of(op) && which(op))
            .map(|(number, _)| *number)
            .collect()
    }

    /// What was to be done there is not to be done any more; what people decided still is, as
    /// soon as it can be.
    pub(super) fn forget_operations(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        for number in self.operations_of(id, |op| !is_wanted(op)) {
            self.forget_operation(number, cx);
        }
    }

    /// Nothing at all is to be done there any more.
    pub(super) fn clear_operations(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        for number in self.operations_of(id, |_| true) {
            self.forget_operation(number, cx);
        }
    }

    /// What people decided in one conversation is done in another that takes its place; the
    /// rest is not to be done any more.
    pub(super) fn move_operations(
        &mut self,
        old: ConversationId,
        new: ConversationId,
        cx: &mut Cx<'_>,
    ) {
        self.forget_operations(old, cx);
        for number in self.operations_of(old, |_| true) {
            let operation = self.operations.get(&number).cloned();
            self.forget_operation(number, cx);
            if let Some(operation) = operation {
                let operation = wire::OperationRecord {
                    conversation: new.to_bytes(),
                    ..operation
                };
                self.queue_operation(operation, cx);
            }
        }
    }

    /// Nothing can be changed there until it is formed again: says so of all that waits for
    /// it. What people decided goes on waiting.
    pub(super) fn stop_operations(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        for number in self.operations_of(id, is_upkeep) {
            self.forget_operation(number, cx);
        }
        for number in self.operations_of(id, |op| !is_wanted(op)) {
            let sentence = "this conversation can't be changed any more; form it again";
            self.drop_operation(number, id, sentence, cx);
        }
        if !self.operations_of(id, |_| true).is_empty() {
            cx.event(Event::Refused {
                conversation: id,
                sentence: "this conversation can't be changed any more; what was decided waits until it is formed again"
                    .into(),
            });
        }
    }

    /// What was to be done there can't be done any more. Nobody is told of what nobody asked
    /// for: keys that were to be renewed, a conversation that was to be brought up to date.
    pub(super) fn drop_operations(&mut self, id: ConversationId, sentence: &str, cx: &mut Cx<'_>) {
        for number in self.operations_of(id, is_upkeep) {
            self.forget_operation(number, cx);
        }
        for number in self.operations_of(id, |_| true) {
            self.drop_operation(number, id, sentence, cx);
        }
    }
}

/// Whether a person wants it, whatever becomes of the conversation.
fn is_wanted(operation: &wire::OperationRecord) -> bool {
    !operation.decisions.is_empty() || !operation.statements.is_empty() || operation.leave
}

/// What an operation was to put into the family's log.
fn decisions_of(operation: &wire::OperationRecord) -> Vec<Decision> {
    let own = operation.decisions.iter();
    let own = own.filter_map(|record| Decision::decode(&record.decision).ok());
    let carried = operation.statements.iter();
    let carried = carried.filter_map(|signed| Statement::decode(&signed.statement).ok());
    own.chain(carried.map(|statement| statement.decision))
        .collect()
}

/// Whether nobody asked for it.
fn is_upkeep(operation: &wire::OperationRecord) -> bool {
    (operation.reconcile || operation.self_update) && !is_wanted(operation)
}

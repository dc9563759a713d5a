//! What the demo says at the end, for a program and for a parent.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ledger::MessageCount;
use kinline_thief::Report as Loot;

/// One step of the day.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) name: String,
    /// `null` when the step was skipped.
    pub(super) ok: Option<bool>,
    pub(super) ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// A photo's way.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct PhotoReport {
    pub(super) bytes_in: u64,
    pub(super) bytes_received: u64,
    pub(super) metadata_fields_in: usize,
    pub(super) metadata_fields_received: usize,
    /// Of the cleaned photo, as it was sent.
    pub(super) sha256_sent: String,
    pub(super) sha256_received: String,
    pub(super) width: u32,
    pub(super) height: u32,
    /// 1: looks the same; above 0.9 is asked for.
    pub(super) likeness: f64,
}

/// A voice message's way.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct AudioReport {
    pub(super) bytes_in: u64,
    pub(super) bytes_received: u64,
    pub(super) seconds_in: f64,
    pub(super) seconds_received: f64,
    pub(super) metadata_fields_in: usize,
    pub(super) metadata_fields_received: usize,
    pub(super) sha256_sent: String,
    pub(super) sha256_received: String,
    /// 1: sounds the same; above 0.9 is asked for.
    pub(super) likeness: f64,
}

/// Everything.
#[derive(Debug, Default, Serialize)]
pub(super) struct DemoReport {
    pub(super) ok: bool,
    pub(super) relay: String,
    pub(super) steps: Vec<Step>,
    pub(super) messages: MessageCount,
    /// What the relay refused, and how often: every one of them was tried again.
    pub(super) relay_refusals: BTreeMap<String, u64>,
    pub(super) photo: PhotoReport,
    pub(super) photo_back: PhotoReport,
    /// From the friend's tablet.
    pub(super) photo_friend: PhotoReport,
    pub(super) audio: AudioReport,
    pub(super) audio_back: AudioReport,
    pub(super) dump: Vec<Loot>,
}

impl DemoReport {
    /// Every promise held. A skipped step breaks none.
    pub(super) fn holds(&self) -> bool {
        self.steps.iter().all(|step| step.ok != Some(false))
            && self.messages.is_clean()
            && self.dump.iter().all(Loot::ok)
    }

    /// The sentence a parent would want.
    pub(super) fn print_summary(&self) {
        let passed = self
            .steps
            .iter()
            .filter(|step| step.ok == Some(true))
            .count();
        let skipped = self.steps.iter().filter(|step| step.ok.is_none()).count();
        let m = &self.messages;
        println!("\nWhat these days showed");
        println!(
            "  Messages   {} sent, {} received on the other devices: {} lost, {} doubled, {} out of order.",
            m.sent, m.received, m.lost, m.duplicated, m.out_of_order
        );
        let (p, b) = (&self.photo, &self.photo_back);
        println!(
            "  Photo      {} pieces of hidden data (camera, place, time) in the file, {} in what arrived; {}×{} pixels, {}.",
            p.metadata_fields_in,
            p.metadata_fields_received,
            p.width,
            p.height,
            same(&p.sha256_sent, &p.sha256_received)
        );
        println!(
            "  And back   {} in the file, {} in what arrived; {}.",
            b.metadata_fields_in,
            b.metadata_fields_received,
            same(&b.sha256_sent, &b.sha256_received)
        );
        let a = &self.audio;
        println!(
            "  Voice      {:.2} s spoken, {:.2} s heard, {} tags left; {}.",
            a.seconds_in,
            a.seconds_received,
            a.metadata_fields_received,
            same(&a.sha256_sent, &a.sha256_received)
        );
        for loot in &self.dump {
            println!(
                "  The theft  {}: {} files, {} bytes searched for {} secrets in {} spellings: {} found. Planted leaks caught: {} of {}.",
                loot.when,
                loot.files,
                loot.bytes,
                loot.canaries,
                loot.encodings,
                loot.hits,
                loot.controls_caught,
                loot.controls_planted
            );
        }
        if self.dump.is_empty() {
            println!("  The theft  was skipped: this relay's files were not to be had.");
        }
        println!(
            "  Steps      {passed} passed, {} failed, {skipped} skipped.",
            self.steps.len() - passed - skipped
        );
        if self.ok && self.dump.is_empty() {
            println!(
                "\nEvery promise that was tried held; what the relay stored was not looked at."
            );
        } else if self.ok {
            println!(
                "\nEvery promise held. What the relay stored shows nothing of these families."
            );
        } else {
            println!("\nA PROMISE DID NOT HOLD:");
            for step in self.steps.iter().filter(|step| step.ok == Some(false)) {
                println!(
                    "  {}: {}",
                    step.name,
                    step.error.as_deref().unwrap_or("failed")
                );
            }
            if !m.is_clean() {
                println!("  messages were lost, doubled or out of order");
            }
            for loot in self.dump.iter().filter(|loot| !loot.ok()) {
                println!(
                    "  the theft {} found something, or a planted leak was missed",
                    loot.when
                );
            }
        }
    }
}

fn same(sent: &str, received: &str) -> &'static str {
    if !sent.is_empty() && sent == received {
        "byte for byte what was sent"
    } else {
        "NOT what was sent"
    }
}

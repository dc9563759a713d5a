//! The page of an export: one file, light and dark, without a script; every word of a person
//! is escaped.

use std::fmt::Write as _;

use kinline_protocol::content::Body;
use kinline_protocol::day::{DAY_MS, Timestamp};
use kinline_protocol::engine::view::MessageView;
use serde_json::Value;

use super::inbox::Names;
use super::message::{harmless, name, words};

const STYLE: &str = "
:root { color-scheme: light dark; --ink:#1d2329; --soft:#5c6670; --paper:#fbfaf7; --card:#fff; --line:#e3e0d8 }
@media (prefers-color-scheme: dark) { :root { --ink:#e8e6e1; --soft:#9aa4ad; --paper:#14181c; --card:#1c2228; --line:#323a42 } }
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
main { max-width: 760px; margin: 0 auto; padding: 40px 20px 80px }
h1 { font-size: 28px; margin: 0 0 4px } h2 { font-size: 20px; margin: 36px 0 8px }
.soft, time { color: var(--soft); font-size: 14px }
article { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px; margin: 8px 0 }
article p { margin: 2px 0; white-space: pre-wrap; overflow-wrap: anywhere }
article:target { border-color: var(--ink) }
img { max-width: 100%; height: auto; border-radius: 8px } audio { width: 100% }
table { width: 100%; border-collapse: collapse } td, th { text-align: left; padding: 4px 8px; border-bottom: 1px solid var(--line); vertical-align: top }
";

/// What may stand in a page, of any text.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for it in harmless(text).chars() {
        match it {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            it => escaped.push(it),
        }
    }
    escaped
}

fn time(at: Timestamp) -> String {
    let minutes = at.0 % DAY_MS / 60_000;
    format!("{} {:02}:{:02} UTC", at.day(), minutes / 60, minutes % 60)
}

/// A message on the page.
pub(super) struct Part {
    html: String,
}

impl Part {
    pub(super) fn new(view: &MessageView, names: &Names, file: Option<String>) -> Self {
        let id = hex::encode(view.content.as_bytes());
        let mut html = format!("<article id=\"m{id}\">");
        let at = time(view.sent_at.unwrap_or(view.shown_at));
        let sender = escape(&name(names, &view.sender));
        // Nothing of this can fail: it is a string.
        let _ = write!(
            html,
            "<p><b dir=\"auto\">{sender}</b> <time>{at}</time></p>"
        );
        if let Some(target) = view.reply_to {
            let target = hex::encode(target.as_bytes());
            let _ = write!(
                html,
                "<p class=\"soft\"><a href=\"#m{target}\">answers this</a></p>"
            );
        }
        match (&view.body, &file) {
            (Some(Body::Photo(_)), Some(file)) => {
                let _ = write!(
                    html,
                    "<p><img loading=\"lazy\" alt=\"photo\" src=\"{}\"></p>",
                    escape(file)
                );
            }
            (Some(Body::Voice(_)), Some(file)) => {
                let _ = write!(
                    html,
                    "<p><audio controls src=\"{}\"></audio></p>",
                    escape(file)
                );
            }
            (Some(Body::Photo(_) | Body::Voice(_)), None) => {
                html.push_str("<p class=\"soft\">(the file is not on this device)</p>");
            }
            _ => {}
        }
        let said = escape(&words(view));
        let _ = write!(html, "<p dir=\"auto\">{said}</p>");
        if let (Some(Body::Text { text }), Some(_)) = (&view.body, &view.edited) {
            let text = escape(text);
            let _ = write!(
                html,
                "<p class=\"soft\" dir=\"auto\">edited; before: {text}</p>"
            );
        }
        for (member, emoji) in &view.reactions {
            let _ = write!(
                html,
                "<span class=\"soft\">{} {} </span>",
                escape(emoji),
                escape(&name(names, member))
            );
        }
        if view.told_by.is_some() {
            html.push_str("<p class=\"soft\">as another device of the family told it</p>");
        }
        html.push_str("</article>\n");
        Self { html }
    }
}

/// The page as it grows.
pub(super) struct Page {
    html: String,
}

impl Page {
    pub(super) fn new(now: Timestamp, device: &str, family: &Value) -> Self {
        let text = |value: &Value| escape(value.as_str().unwrap_or_default());
        let title = text(&family["family"]);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'none'; connect-src 'none'\">\
             <title>{title}</title><style>{STYLE}</style></head><body><main>\n\
             <h1 dir=\"auto\">{title}</h1><p class=\"soft\">What the device “{}” knew on {}. The same for programs: messages.json, family.json.</p>\n",
            escape(device),
            time(now),
        );
        html.push_str("<h2>Who</h2><table>");
        for member in family["members"].as_array().into_iter().flatten() {
            let policy = text(&member["policy"]);
            let _ = write!(
                html,
                "<tr><td dir=\"auto\">{}</td><td>{}</td><td>{policy}</td></tr>",
                text(&member["name"]),
                text(&member["role"]),
            );
        }
        html.push_str("</table>\n<h2>What was decided</h2><table>");
        for decision in family["decisions"].as_array().into_iter().flatten() {
            let by = decision["by"].as_array().into_iter().flatten();
            let by: Vec<String> = by.map(text).collect();
            let _ = write!(
                html,
                "<tr><td>{}</td><td dir=\"auto\">{}</td><td>{}</td></tr>",
                decision["index"],
                text(&decision["what"]),
                by.join(", "),
            );
        }
        html.push_str("</table>\n");
        Self { html }
    }

    pub(super) fn conversation(&mut self, title: &str, parts: &[Part]) {
        let _ = writeln!(self.html, "<h2 dir=\"auto\">{}</h2>", escape(title));
        for part in parts {
            self.html.push_str(&part.html);
        }
    }

    pub(super) fn notices(&mut self, news: &[Value]) {
        if news.is_empty() {
            return;
        }
        self.html.push_str("<h2>What else happened</h2><table>");
        for notice in news {
            let at = Timestamp(notice["at_ms"].as_u64().unwrap_or_default());
            let sentence = escape(notice["sentence"].as_str().unwrap_or_default());
            let _ = write!(
                self.html,
                "<tr><td><time>{}</time></td><td dir=\"auto\">{sentence}</td></tr>",
                time(at)
            );
        }
        self.html.push_str("</table>\n");
    }

    pub(super) fn finish(mut self) -> String {
        self.html.push_str("</main></body></html>\n");
        self.html
    }
}

#[cfg(test)]
mod tests {
    use super::{escape, time};
    use kinline_protocol::day::Timestamp;

    #[test]
    fn nobodys_words_become_a_page() {
        let said = "<script>alert('x')</script> & \"so\"\u{7}";
        assert_eq!(
            escape(said),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;so&quot; "
        );
    }

    #[test]
    fn times_are_told_to_the_minute() {
        assert_eq!(time(Timestamp(1_800_000_000_000)), "2027-01-15 08:00 UTC");
    }
}

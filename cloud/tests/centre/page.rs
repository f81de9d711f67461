//! The pages, as text. What a browser makes of them is for the tests with a browser.

use axum::http::StatusCode;
use tidegate_wire::{Class, Content, NamedValue, Scalar};

use crate::client::Centre;
use crate::samples::{buffer, epoch, lost, number, request, rows, thinned};

const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&</script>\u{1b}[31m\u{202E}";

#[tokio::test]
async fn text_from_a_gateway_is_text_on_the_page() {
    let centre = Centre::start().await;
    let mut sent = request("gw-1", vec![rows("notes", epoch(1), 1..=2)]);
    for row in &mut sent.rows[0].rows {
        row.key = HOSTILE.into();
        let value = Scalar::Text(HOSTILE.into());
        row.content = Content::Values(vec![NamedValue {
            name: HOSTILE.into(),
            value,
        }]);
    }
    sent.rows[0].rows[1].class = Class::Alarm;
    sent.status.version = HOSTILE.into();
    sent.status.modules[0].state = HOSTILE.into();
    sent.status.modules[0].version = HOSTILE.into();
    let mut gap = lost(3, 9);
    if let Content::Lost(lost) = &mut gap.content {
        lost.values[0].name = HOSTILE.into();
    }
    sent.rows[0].rows.push(gap);
    let mut thinned = thinned(10, 19);
    if let Content::Thinned(thinned) = &mut thinned.content {
        thinned.values[0].name = HOSTILE.into();
    }
    sent.rows[0].rows.push(thinned);
    sent.status.buffer = Some(buffer());
    sent.status.buffer.as_mut().unwrap().tallies[0].reason = HOSTILE.into();
    centre.client.sync(&sent).await;
    for path in ["/", "/gateways/gw-1"] {
        let page = centre.client.get(path).await.text();
        assert!(!page.contains("<img"), "{path}");
        assert!(!page.contains("alert(1)>"), "{path}");
        assert!(!page.contains(['\u{1b}', '\u{202E}']), "{path}");
        assert_eq!(page.matches("</script>").count(), 2, "{path}");
        // The control: it is there, as text.
        assert!(
            page.contains("&#60;img src=x onerror=alert(1)&#62;&#34;&#39;&#38;"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_page_of_a_gateway_says_its_values_alarms_and_modules() {
    let centre = Centre::start().await;
    let empty = centre.client.get("/").await.text();
    assert!(empty.contains("No gateway has reported yet"));

    let mut sent = request(
        "gw-1",
        vec![
            rows("temperature", epoch(1), 1..=2),
            rows("overheat", epoch(1), 1..=1),
        ],
    );
    sent.rows[1].rows[0].class = Class::Alarm;
    sent.rows[1].rows[0].content = number("celsius", 91.5);
    centre.client.sync(&sent).await;
    let page = centre.client.get("/gateways/gw-1").await.text();
    for part in [
        r#"<tr data-stream="temperature" data-key="press-7" data-class="raw">"#,
        r#"<b data-value="celsius" title="21">21</b>"#,
        r#"<tr data-alarm data-gateway="gw-1" data-stream="overheat" data-key="press-7">"#,
        r#"<b data-value="celsius" title="91.5">91.5</b>"#,
        r#"<tr data-module="unit-convert">"#,
        r#"<tr data-stream="temperature" data-rows="2">"#,
        r#"data-waiting="3""#,
        r#"data-presence="online""#,
        "<option selected>temperature</option>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let fleet = centre.client.get("/").await.text();
    assert!(fleet.contains(r#"<tr data-gateway="gw-1" data-presence="online">"#));
    assert!(fleet.contains(r#"<tr data-alarm data-gateway="gw-1""#));
    assert_eq!(
        centre.client.get("/gateways/gw-9").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_page_of_a_gateway_shows_what_is_lost_and_why() {
    let centre = Centre::start().await;
    let mut sent = request("gw-1", vec![rows("temperature", epoch(1), 1..=4)]);
    sent.rows[0].rows.push(thinned(5, 64));
    let whole = centre.client.sync(&sent).await;
    assert_eq!(whole.marks[0].seq, 64);
    let page = centre.client.get("/gateways/gw-1").await.text();
    assert!(page.contains("No row of this gateway is missing."));
    assert!(!page.contains("data-entry") && !page.contains("data-buffer"));

    sent.rows[0].rows.push(lost(65, 90));
    sent.status.buffer = Some(buffer());
    centre.client.sync(&sent).await;
    let page = centre.client.get("/gateways/gw-1").await.text();
    for part in [
        r#"<tr data-loss="evicted" data-stream="temperature" data-rows="26">"#,
        r#"<tr data-entry="evicted" data-stream="temperature" data-rows="26">"#,
        "the gateway&#39;s buffer was full",
        "65 – 90",
        "2026-11-21 07:31:05",
        "celsius 52.5 to 65",
        r#"data-rows-lost="26""#,
        r#"data-buffer="93""#,
        "186 MiB of 200 MiB",
        r#"<tr data-tally="late" data-of="windows" data-messages="1200">"#,
        "they came after their window had closed",
        // The newest value is still that of the thinned row.
        "mean, least and greatest of 60 rows",
        ">37.25 (22.5 to 52)</b>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let fleet = centre.client.get("/").await.text();
    assert!(fleet.contains("buffer 93 %"));
}

#[tokio::test]
async fn a_page_needs_no_network_but_the_centres() {
    let centre = Centre::start().await;
    let answer = centre.client.get("/").await;
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
    let page = answer.text();
    let sources: Vec<_> = page
        .split(['"'])
        .filter(|text| text.starts_with("/assets/"))
        .collect();
    assert_eq!(sources.len(), 4);
    for source in sources {
        assert_eq!(
            centre.client.get(source).await.status,
            StatusCode::OK,
            "{source}"
        );
    }
    assert!(!page.contains("https://"));
    assert_eq!(
        centre.client.get("/assets/..%2FCargo.toml").await.status,
        StatusCode::NOT_FOUND
    );
}

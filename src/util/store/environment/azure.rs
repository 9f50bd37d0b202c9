//! Azure Blob Storage: from its variables, and from a connection string.

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use super::{Patience, Variables, client_options, context, host_of, is_plain_http, key_of, retry};
use crate::util::store::StoreUrl;
use crate::util::store::failure::Context;

/// Names that the tools of Azure read and the library does not.
const OTHER_NAMES: [(&str, AzureConfigKey); 2] =
    [("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName), ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey)];

/// What makes the client for a container, and what sentences say of it.
///
/// # Errors
/// A sentence, if the environment is not complete or contradicts itself.
pub fn builder(
    url: &StoreUrl,
    patience: Patience,
    variables: &Variables,
) -> Result<(MicrosoftAzureBuilder, Context), String> {
    let get = |name: &str| variables.get(name).map(String::as_str);
    let mut settings = Vec::<(AzureConfigKey, &str)>::new();
    settings.extend(OTHER_NAMES.into_iter().filter_map(|(name, key)| Some((key, get(name)?))));
    settings.extend(variables.iter().filter_map(|(name, value)| Some((key_of(name, "AZURE_")?, value.as_str()))));
    let connection = get("AZURE_STORAGE_CONNECTION_STRING").map(Connection::parse).transpose()?.unwrap_or_default();
    settings.extend(connection.settings());
    let found = |key: AzureConfigKey| settings.iter().rev().find(|(known, _)| *known == key).map(|(_, value)| *value);
    let is_emulator = found(AzureConfigKey::UseEmulator).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let endpoint = if is_emulator {
        Some(get("AZURITE_BLOB_STORAGE_URL").unwrap_or("http://127.0.0.1:10000"))
    } else {
        if found(AzureConfigKey::AccountName).is_none() {
            let sentence = "the name of the storage account is missing; see AZURE_STORAGE_ACCOUNT_NAME and \
                            AZURE_STORAGE_CONNECTION_STRING";
            return Err(sentence.to_owned());
        }
        found(AzureConfigKey::Endpoint)
    };
    let mut client = client_options(patience)?;
    if let Some(endpoint) = endpoint {
        client = client.with_allow_http(is_plain_http(endpoint)?);
    }
    let host = endpoint.map_or("blob.core.windows.net", host_of).to_owned();
    let builder =
        settings.iter().fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| builder.with_config(*key, *value));
    let builder = builder.with_client_options(client).with_retry(retry(patience, variables)?);
    Ok((builder.with_container_name(url.bucket()), context(url, &host)))
}

/// What a connection string says: `AccountName=a;AccountKey=b;BlobEndpoint=c` and the like.
#[derive(Debug, Default, PartialEq, Eq)]
struct Connection {
    account: Option<String>,
    key: Option<String>,
    signature: Option<String>,
    endpoint: Option<String>,
    is_emulator: bool,
}

impl Connection {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut found, mut protocol, mut suffix) = (Self::default(), "https".to_owned(), None);
        for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            // The value may end with signs of equality.
            let (name, value) = pair.split_once('=').ok_or_else(malformed)?;
            let value = value.trim().to_owned();
            match &*name.trim().to_ascii_lowercase() {
                "accountname" => found.account = Some(value),
                "accountkey" => found.key = Some(value),
                "sharedaccesssignature" => found.signature = Some(value.trim_start_matches('?').to_owned()),
                "blobendpoint" => found.endpoint = Some(value.trim_end_matches('/').to_owned()),
                "defaultendpointsprotocol" => protocol = value,
                "endpointsuffix" => suffix = Some(value),
                "usedevelopmentstorage" => found.is_emulator = value.eq_ignore_ascii_case("true"),
                // Those of queues, tables and the like.
                _ => {}
            }
        }
        if let (None, Some(account), Some(suffix)) = (&found.endpoint, &found.account, suffix) {
            found.endpoint = Some(format!("{protocol}://{account}.blob.{suffix}"));
        }
        // A signature comes with an endpoint alone, whose host begins with the account.
        if let (None, Some(endpoint)) = (&found.account, &found.endpoint) {
            found.account = host_of(endpoint).split('.').next().map(str::to_owned);
        }
        Ok(found).and_then(|found| if found == Self::default() { Err(malformed()) } else { Ok(found) })
    }

    fn settings(&self) -> impl Iterator<Item = (AzureConfigKey, &str)> {
        let texts = [
            (AzureConfigKey::AccountName, &self.account),
            (AzureConfigKey::AccessKey, &self.key),
            (AzureConfigKey::SasKey, &self.signature),
            (AzureConfigKey::Endpoint, &self.endpoint),
        ];
        let texts = texts.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
        texts.chain(self.is_emulator.then_some((AzureConfigKey::UseEmulator, "true")))
    }
}

fn malformed() -> String {
    "AZURE_STORAGE_CONNECTION_STRING is no connection string, such as AccountName=…;AccountKey=…".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_are_read() {
        let parsed = |text: &str| Connection::parse(text).expect(text);
        let plain =
            parsed("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=b/+==;EndpointSuffix=core.windows.net");
        let settings = plain.settings().map(|(key, value)| (key.as_ref().to_owned(), value)).collect::<Vec<_>>();
        assert_eq!(
            settings.iter().map(|(key, value)| (key.as_str(), *value)).collect::<Vec<_>>(),
            [
                ("azure_storage_account_name", "a"),
                ("azure_storage_account_key", "b/+=="),
                ("azure_storage_endpoint", "https://a.blob.core.windows.net"),
            ]
        );
        let signed =
            parsed("BlobEndpoint=https://a.blob.example/;SharedAccessSignature=?sv=1&sig=x%3D;QueueEndpoint=q");
        assert_eq!(signed.account.as_deref(), Some("a"));
        assert_eq!(signed.signature.as_deref(), Some("sv=1&sig=x%3D"));
        assert_eq!(signed.endpoint.as_deref(), Some("https://a.blob.example"));
        assert!(parsed("UseDevelopmentStorage=true").is_emulator);
        for text in ["", ";", "secret", "a=b"] {
            let sentence = Connection::parse(text).expect_err(text);
            assert!(!sentence.contains("secret"), "{sentence}");
        }
    }
}

# shellcheck shell=bash
# DevStack's plugin for Tatu: `enable_plugin tatu URL` in local.conf. DevStack sources it in each of its phases,
# after settings, and gives it its functions and variables.

_XTRACE_TATU=$(set +o | grep xtrace)
set +o xtrace # passwords are handed on

TATU_DIR=$DEST/tatu
TATU_CONF=$TATU_CONF_DIR/tatu.conf
TATU_CLOUD_CONF=$TATU_CONF_DIR/openstack.conf
TATU_NOVA_CONF=$TATU_CONF_DIR/nova-vendordata.conf
TATU_STATIC_VENDORDATA=$TATU_CONF_DIR/vendordata.json
TATU_BIN_DIR=$(get_python_exec_prefix)

if is_service_enabled tls-proxy; then
    TATU_ENDPOINT=https://$TATU_SERVICE_HOST:$TATU_SERVICE_PORT
    TATU_BIND_PORT=$TATU_SERVICE_PORT_INT
else
    TATU_ENDPOINT=http://$TATU_SERVICE_HOST:$TATU_SERVICE_PORT
    TATU_BIND_PORT=$TATU_SERVICE_PORT
fi

# Is there a Barbican, and may Tatu use it?
function is_tatu_on_barbican {
    [[ $(trueorfalse "$(is_service_enabled barbican && echo True || echo False)" TATU_USE_BARBICAN) == True ]]
}

# tatu_run COMMAND ARGUMENTS - Run a command of Tatu with its configuration
function tatu_run {
    local command=$1
    shift
    "$TATU_BIN_DIR/$command" --config-file "$TATU_CLOUD_CONF" --config-file "$TATU_CONF" "$@"
}

# check_tatu() - What could not work, said before anything is installed
function check_tatu {
    if ! is_service_enabled tls-proxy && [[ $TATU_SERVICE_HOST != 127.0.0.1 ]]; then
        die $LINENO "Tatu takes tokens by https alone: enable_service tls-proxy in local.conf, or TATU_SERVICE_HOST=127.0.0.1"
    fi
    if [[ $(trueorfalse False TATU_USE_BARBICAN) == True ]] && ! is_service_enabled barbican; then
        die $LINENO "TATU_USE_BARBICAN=True needs Barbican: enable its plugin before Tatu's"
    fi
}

# install_tatu() - Install Tatu, and `openstack ssh` with it
function install_tatu {
    setup_develop "$TATU_DIR" openstack,mariadb,postgresql
    sudo install -d -m 0750 -o "$STACK_USER" "$TATU_CONF_DIR"
    # Here, because Keystone is configured by now, and starts before the next phase
    if is_service_enabled keystone; then
        iniset "$KEYSTONE_CONF" DEFAULT notification_format basic
        tatu_have_told keystone "$KEYSTONE_CONF" oslo_messaging_notifications topics notifications
    fi
}

# tatu_have_told SERVICE FILE SECTION OPTION TOPIC - Have a service publish to Tatu's topic besides those it has
function tatu_have_told {
    local topics
    topics=$(iniget "$2" "$3" "$4")
    topics=${topics:-$5}
    [[ ,${topics//[[:space:]]/}, == *,tatu,* ]] || iniset "$2" "$3" "$4" "$topics,tatu"
    iniset "$2" oslo_messaging_notifications driver messagingv2
    # not the virtual host of a cell, where nobody listens
    iniset_rpc_backend "$1" "$2" oslo_messaging_notifications
}

# tatu_let_read FILE POLICY - Let Tatu's user read what a service has of instances
function tatu_let_read {
    local folder policy
    folder=$(dirname "$1")
    policy=$(iniget "$1" oslo_policy policy_file)
    policy=${policy:-policy.yaml}
    [[ $policy == /* ]] || policy=$folder/$policy
    # policy.d is read only beside a policy file
    [[ -e $policy ]] || sudo install -m 0644 -o "$STACK_USER" /dev/null "$policy"
    sudo install -d -o "$STACK_USER" "$folder/policy.d"
    sudo install -m 0644 -o "$STACK_USER" "$TATU_DIR/etc/openstack/$2" "$folder/policy.d/tatu.yaml"
}

# register_tatu() - Tell Keystone of Tatu, as the administrator whom OS_CLOUD names
function register_tatu {
    "$TATU_BIN_DIR/tatu-manage" openstack register --endpoint "$TATU_ENDPOINT" --region "$REGION_NAME" \
        --project "$SERVICE_PROJECT_NAME" --domain "$SERVICE_DOMAIN_NAME" \
        --tatu-file "$TATU_CLOUD_CONF" --nova-file "$TATU_NOVA_CONF" --new-passwords
    is_tatu_on_barbican || sed -i '/^\[\(keystore\|key_manager\|barbican\)\]$/,/^$/d' "$TATU_CLOUD_CONF"
}

# configure_tatu() - Write Tatu's own configuration
function configure_tatu {
    sudo install -m 0600 -o "$STACK_USER" /dev/null "$TATU_CONF"
    iniset "$TATU_CONF" DEFAULT api_endpoint "$TATU_ENDPOINT"
    iniset "$TATU_CONF" api bind_host "$SERVICE_LISTEN_ADDRESS"
    iniset "$TATU_CONF" api bind_port "$TATU_BIND_PORT"
    if is_service_enabled tls-proxy; then
        iniset "$TATU_CONF" api trusted_proxies 127.0.0.1/32
        iniset "$TATU_CONF" identity_keystone cafile "$SSL_BUNDLE_FILE"
        ! grep -qx '\[inventory_nova\]' "$TATU_CLOUD_CONF" || iniset "$TATU_CONF" inventory_nova cafile "$SSL_BUNDLE_FILE"
        ! is_tatu_on_barbican || iniset "$TATU_CONF" barbican verify_ssl_path "$SSL_BUNDLE_FILE"
    fi
    iniset "$TATU_CONF" state directory "$TATU_DATA_DIR"
    if [[ $(trueorfalse False TATU_USE_DATABASE) == True ]]; then
        local url
        url=$(database_connection_url tatu)
        iniset "$TATU_CONF" database connection "${url%%\?*}" # what follows is for other drivers
    else
        iniset "$TATU_CONF" database connection "sqlite:///$TATU_DATA_DIR/tatu.db"
    fi
    is_tatu_on_barbican || iniset "$TATU_CONF" keystore_local kek_file "$TATU_CONF_DIR/kek"
    iniset "$TATU_CONF" vendordata api_endpoint_for_vms "${TATU_API_FOR_VMS:-http://$SERVICE_HOST:$TATU_BIND_PORT}"
    iniset "$TATU_CONF" vendordata insecure_http True # a cloud to try things in
    iniset "$TATU_CONF" events driver oslo
    iniset "$TATU_CONF" authority create_for_projects "$(trueorfalse True TATU_CREATE_AUTHORITIES)"
    iniset_rpc_backend tatu "$TATU_CONF" events_oslo
    iniset "$TATU_CONF" original_wire enabled "$(trueorfalse False TATU_ORIGINAL_WIRE)"
    iniset "$TATU_CONF" original_wire noauth "$(trueorfalse False TATU_ORIGINAL_WIRE)"
    if [[ -n $TATU_DNS_ZONE_NAME ]]; then
        iniset "$TATU_CONF" authority dns_suffix "{project}.${TATU_DNS_ZONE_NAME%.}"
    fi
}

# configure_tatu_nova() - Have Nova tell of instances, and ask for their vendordata
function configure_tatu_nova {
    local conf
    async_wait configure_neutron_nova # it writes the same files
    for conf in "$NOVA_CONF" "$NOVA_CPU_CONF" "$NOVA_CONF_DIR"/nova_cell*.conf; do
        [[ -e $conf ]] || continue
        tatu_have_told nova "$conf" notifications versioned_notifications_topics versioned_notifications
        [[ $(iniget "$conf" notifications notification_format) == both ]] ||
            iniset "$conf" notifications notification_format versioned
        iniset "$conf" api vendordata_providers StaticJSON,DynamicJSON
        iniset "$conf" api vendordata_jsonfile_path "$TATU_STATIC_VENDORDATA"
        iniset "$conf" api vendordata_dynamic_targets "tatu@$TATU_ENDPOINT/v2/vendordata/nova"
        iniset "$conf" api vendordata_dynamic_read_timeout 10
        # by no iniset: its arguments can be seen by everybody. stack.sh makes these files anew each time
        cat "$TATU_NOVA_CONF" >>"$conf"
        if is_service_enabled tls-proxy; then
            iniset "$conf" api vendordata_dynamic_ssl_certfile "$SSL_BUNDLE_FILE"
            iniset "$conf" vendordata_dynamic_auth cafile "$SSL_BUNDLE_FILE"
        fi
    done
    tatu_let_read "$NOVA_CONF" nova-policy.yaml
}

# init_tatu() - A new ledger, and what instances are given
function init_tatu {
    sudo rm -rf "$TATU_DATA_DIR" # marks of an older ledger, too: a new one has none of its serials
    sudo install -d -m 0700 -o "$STACK_USER" "$TATU_DATA_DIR"
    [[ $(trueorfalse False TATU_USE_DATABASE) == False ]] || recreate_database tatu
    is_tatu_on_barbican || [[ -e $TATU_CONF_DIR/kek ]] || tatu_run tatu-manage keystore new-key "$TATU_CONF_DIR/kek"
    tatu_run tatu-manage db sync

    tatu_run tatu-manage vendordata static >"$TATU_STATIC_VENDORDATA"
}

# start_tatu() - Start what is enabled, and wait until it serves
function start_tatu {
    local run="--config-file $TATU_CLOUD_CONF --config-file $TATU_CONF"
    if is_service_enabled tatu-api; then
        run_process tatu-api "$TATU_BIN_DIR/tatu-api $run"
        if is_service_enabled tls-proxy; then
            start_tls_proxy tatu '*' "$TATU_SERVICE_PORT" 127.0.0.1 "$TATU_SERVICE_PORT_INT"
        fi
        wait_for_service "$SERVICE_TIMEOUT" "$TATU_ENDPOINT/readyz" || die $LINENO "tatu-api did not start"
    fi
    if is_service_enabled tatu-worker; then
        run_process tatu-worker "$TATU_BIN_DIR/tatu-worker $run"
    fi
}

# stop_tatu() - Stop everything
function stop_tatu {
    stop_process tatu-api
    stop_process tatu-worker
}

# cleanup_tatu() - Remove what was written outside of DevStack's folders
function cleanup_tatu {
    sudo rm -f "$(dirname "$NOVA_CONF")/policy.d/tatu.yaml" "$(dirname "$NEUTRON_CONF")/policy.d/tatu.yaml"
    sudo rm -rf "$TATU_CONF_DIR" "$TATU_DATA_DIR"
}

if is_service_enabled tatu; then
    case "$1 ${2:-}" in
    "stack pre-install")
        check_tatu
        ;;
    "stack install")
        echo_summary "Installing Tatu"
        install_tatu
        ;;
    "stack post-config")
        echo_summary "Configuring Tatu"
        register_tatu
        configure_tatu
        init_tatu
        if is_service_enabled nova; then
            configure_tatu_nova
        fi
        if is_service_enabled neutron; then
            tatu_have_told neutron "$NEUTRON_CONF" oslo_messaging_notifications topics notifications
            tatu_let_read "$NEUTRON_CONF" neutron-policy.yaml
        fi
        ;;
    "stack extra")
        echo_summary "Starting Tatu"
        start_tatu
        ;;
    "stack test-config")
        tatu_run tatu-manage check
        ;;
    "unstack "*)
        stop_tatu
        ;;
    "clean "*)
        cleanup_tatu
        ;;
    esac
fi

$_XTRACE_TATU
